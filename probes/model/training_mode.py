"""Notices modules that are in eval mode when the first step is recorded."""

from __future__ import annotations

from torch import nn

from probes.gaps import Gaps
from probes.model.module_kinds import BATCH_NORMS
from probes.model.selection import canonical_name

_NAMED = 5
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class TrainingMode:
    """Looks once at the modes of a model's modules: many loops call ``model.train()`` only after attaching.

    Args:
        root: The model.
        evaluation: Whether passes in eval mode are recorded. Eval mode is then taken as intended.
    """

    def __init__(self, root: nn.Module, *, evaluation: bool) -> None:
        self._root, self._evaluation = root, evaluation
        self._looked = False

    def look(self, gaps: Gaps) -> None:
        """Warn of a model that is updated in eval mode.

        Note single batch norms and dropouts that are in eval mode.
        """
        if self._looked:
            return
        self._looked = True
        if not self._root.training and not self._evaluation:
            gaps.warn(
                what="training mode",
                why="the model is in eval mode while it is trained: dropout is off, batch norm uses its running"
                " moments, and activations are not recorded. Call model.train() before the loop; if eval mode is meant,"
                " evaluation=True records such passes",
            )
        elif self._root.training:
            kinds = (*BATCH_NORMS, *_DROPOUTS)
            evaluated = {name: part for name, part in self._root.named_modules() if not part.training}
            named = [name for name, part in evaluated.items() if isinstance(part, kinds)]
            if named:
                more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
                listed = ", ".join(canonical_name(name) for name in named[:_NAMED])
                gaps.note(what="training mode", why=f"in eval mode while the model is trained: {listed}{more}")
