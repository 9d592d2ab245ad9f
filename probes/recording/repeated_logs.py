"""Notices a training that keeps logging while the probe sees neither its passes nor its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from probes.gaps import Gaps

_ALLOWED = 3  # logs of one name after one step: before and after a correction, and in a cell that is run again


class RepeatedLogs:
    """Counts how often a name is logged after one optimizer step with no training pass in between.

    Each such number replaces the number before it. This happens when the loop continues with another model and
    optimizer than those of the probe, for example after peft's ``merge_and_unload()``.

    Args:
        gaps: The warning is reported here, once.
    """

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps
        self._step: int | None = None
        self._times: Counter[str] = Counter()
        self._told = False

    def note(self, step: int, names: Iterable[str]) -> None:
        """Note names logged for a step that is over, and warn of the first name that is logged too often."""
        if self._told:
            return
        if step != self._step:
            self._step = step
            self._times.clear()
        self._times.update(names)
        often = sorted(name for name, times in self._times.items() if times > _ALLOWED)
        if not often:
            return
        self._told = True
        self._gaps.warn(
            what=f"logged numbers ({', '.join(often)})",
            why=f"logged more than {_ALLOWED} times after step {step} without a training pass in between: each "
            "replaces the one before. If the training goes on, it uses a model or an optimizer that this probe was not "
            "given: close the probe, and make a new one for them",
            step=step,
        )
