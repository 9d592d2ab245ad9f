"""Notices modules that were added to or replaced in a model after the probe was attached."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from probes.gaps import Gaps
from probes.model.selection import canonical_name

_NEW_PROBE = "They are not recorded: make a new probe, with another run or resume_step, to record them"


class NewModules:
    """Compares a model's modules with those at attachment."""

    def __init__(self, root: nn.Module) -> None:
        self._model = root
        self._known = {id(module) for module in root.modules()}

    def look(self, gaps: Gaps) -> None:
        """Warn at once of modules that the first model did not have.

        The rows of a replaced module end. The new module has no rows, because a run has the layers of its first model.
        """
        now = {id(module) for module in self._model.modules()}
        if now != self._known:
            self._tell(gaps, [name for name, module in self._model.named_modules() if id(module) not in self._known])
            self._known = now

    def holds(self, module: nn.Module) -> bool:
        """Whether a module was part of the model at the last look."""
        return id(module) in self._known

    def _tell(self, gaps: Gaps, strange: Iterable[str]) -> None:
        names = [canonical_name(name) for name in strange]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            listed = ", ".join(names[:5])
            gaps.warn(
                what="new modules", why=f"added or replaced after the probe was attached: {listed}{more}. {_NEW_PROBE}"
            )
