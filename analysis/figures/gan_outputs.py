"""What the critic says of real and of generated images, over training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.figure import Figure

from analysis.figures.gan_curves import GanCurves, draw_networks
from analysis.figures.page import with_smoothing
from analysis.figures.picture import Prepared


@dataclass(frozen=True, kw_only=True)
class GanOutputs(GanCurves):
    """The critic's mean output over steps for real and for generated images; a panel a norm, each on its own scale.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_outputs"
    title = "The critic's mean output"
    words = MappingProxyType({"critic_real": "D(x), real images", "critic_fake": "D(G(z)), generated images"})

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a norm."""
        note = with_smoothing("mean over the batch, before any sigmoid; each panel has its own scale", self.smooth)
        draw_networks(figure, prepared.table, self.words, title=self.title, note=note, ylabel="output")
