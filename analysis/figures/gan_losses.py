"""What critic and generator minimise, over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import by_quantity, draw_quantities
from analysis.figures.page import with_smoothing
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

PANELS = {"critic_loss": "critic's loss", "generator_loss": "generator's loss"}


@dataclass(frozen=True, kw_only=True)
class GanLosses(Picture):
    """Losses over steps; a panel a network, a line a norm.

    Losses of different kinds (Wasserstein, softplus) do not compare with each other, only with themselves over time.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_losses"
    title = "Losses of critic and generator"
    reads = STEPS
    columns = tuple(PANELS)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return both losses over runs, a row for each quantity, arm and step."""
        return by_quantity(rows, list(PANELS), window=self.smooth)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a network."""
        note = with_smoothing("each critic's own loss, gradient penalty included", self.smooth)
        draw_quantities(figure, prepared.table, PANELS, title=self.title, note=note)
