"""What critic and generator minimise, over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import by_quantity, draw_networks
from analysis.figures.page import with_smoothing
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

LINES = {"critic_loss": "critic", "generator_loss": "generator"}


@dataclass(frozen=True, kw_only=True)
class GanLosses(Picture):
    """Losses over steps; a panel a norm, a line a network.

    Losses of different kinds (Wasserstein, softplus) do not compare: each panel has its own scale.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_losses"
    title = "Losses of critic and generator"
    reads = STEPS
    columns = tuple(LINES)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return both losses over runs, a row for each quantity, arm and step."""
        return by_quantity(rows, list(LINES), window=self.smooth)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a norm."""
        note = with_smoothing("gradient penalty included; each panel has its own scale", self.smooth)
        draw_networks(figure, prepared.table, LINES, title=self.title, note=note, ylabel="loss")
