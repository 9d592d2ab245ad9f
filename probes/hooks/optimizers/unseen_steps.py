"""Notices a training whose optimizer steps the probe does not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from probes.gaps import Gaps
from probes.hooks.torch_internals import version_of

_WHAT = "optimizer steps"
_HOW = (
    "Give the probe the optimizer whose step() the loop calls, or none and call probe.step() before each update of the"
    " weights"
)


class UnseenSteps:
    """Counts training passes until a step is seen, and warns if the parameters move without one.

    Args:
        parameters: Some of the trained parameters.
        seen: Returns whether any step has been seen.
        gaps: The warning is reported here.
    """

    def __init__(self, parameters: Sequence[Tensor], seen: Callable[[], bool], gaps: Gaps) -> None:
        self._parameters = list(parameters)
        self._seen, self._gaps = seen, gaps
        self._versions = 0
        self._moved = False
        self._passes = 0
        self._over = False

    def note_pass(self) -> None:
        """Note that a training pass begins, and warn if parameters had changed before the previous pass.

        A change before this pass itself is no reason to warn: SAM changes parameters between the two passes of a step.
        Only changes in place are noticed here. A training that assigns ``parameter.data`` gets its warning at the end
        of the run.
        """
        if self._over:
            return
        self._passes += 1
        if self._seen():
            self._over = True
        elif self._passes == 1:
            self._versions = self._now()
        elif self._moved:
            self._over = True
            self._gaps.warn(what=_WHAT, why=f"the parameters have moved and no step was seen. {_HOW}")
        else:
            self._moved = self._now() != self._versions

    def close(self) -> None:
        """Report at the end of a run with several training passes if no step was seen."""
        if not self._over and self._passes > 1 and not self._seen():
            self._gaps.warn(
                what=_WHAT, why=f"none was seen in {self._passes} training passes, so nothing is recorded. {_HOW}"
            )
        self._over = True

    def _now(self) -> int:
        return sum(version_of(parameter) for parameter in self._parameters)
