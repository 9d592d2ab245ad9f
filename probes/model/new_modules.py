"""Notices modules that were added to or replaced in a model after the probe was attached."""

from __future__ import annotations

from torch import nn

from probes.gaps import Gaps
from probes.model.selection import canonical_name


class NewModules:
    """Compares a model's modules with those at attachment, more rarely as time goes by."""

    def __init__(self, root: nn.Module) -> None:
        self._model = root
        self._known = {id(module) for module in self._model.modules()}
        self._looks = 0

    def look(self, gaps: Gaps) -> None:
        """Warn of strange modules; looks at calls 1, 2, 4, 8, ... and at every 64th."""
        self._looks += 1
        if self._looks & (self._looks - 1) and self._looks % 64:
            return
        strange = [name for name, module in self._model.named_modules() if id(module) not in self._known]
        if strange:
            names = ", ".join(canonical_name(name) for name in strange[:5])
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            gaps.warn(
                what="new modules",
                why=f"added or replaced after the probe was attached: {names}{more}. They are not recorded: make a"
                " new probe to record them",
            )
            self._known |= {id(module) for module in self._model.modules()}
