"""The losses of critic and generator during training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from analysis.plotting.panels.gan_curves import GanCurves, draw_networks


@dataclass(frozen=True, kw_only=True)
class GanLosses(GanCurves):
    """Losses over steps; one panel per norm, one line per network.

    Losses of different kinds (Wasserstein, softplus) cannot be compared, so each panel has its own scale.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_losses"
    title = "Losses of critic and generator"
    words = MappingProxyType({"critic_loss": "critic", "generator_loss": "generator"})
    note = "gradient penalty included; each panel has its own scale"
    ylabel = "loss"
    draw_table = staticmethod(draw_networks)
