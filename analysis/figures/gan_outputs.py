"""The critic's outputs for real and for generated images during training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from analysis.plotting.panels.gan_curves import GanCurves, draw_networks


@dataclass(frozen=True, kw_only=True)
class GanOutputs(GanCurves):
    """The critic's mean output over steps for real and for generated images; one panel per norm, each on its own scale.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_outputs"
    title = "The critic's mean output"
    words = MappingProxyType({"critic_real": "D(x), real images", "critic_fake": "D(G(z)), generated images"})
    note = "mean over the batch, before any sigmoid; each panel has its own scale"
    ylabel = "output"
    draw_table = staticmethod(draw_networks)
