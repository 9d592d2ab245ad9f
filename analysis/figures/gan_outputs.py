"""What the critic says of real and of generated images, over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import by_quantity, draw_quantities
from analysis.figures.page import with_smoothing
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

REAL, FAKE, GAP = "critic_real", "critic_fake", "critic_gap"
PANELS = {REAL: "D(x), real images", FAKE: "D(G(z)), generated", GAP: "D(x) − D(G(z))"}


@dataclass(frozen=True, kw_only=True)
class GanOutputs(Picture):
    """The critic's mean output over steps: real images, generated ones, and the difference.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 25
    name = "gan_outputs"
    title = "The critic's mean output"
    reads = STEPS
    columns = (REAL, FAKE)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the outputs and their difference over runs, a row for each quantity, arm and step."""
        rows = rows.assign(**{GAP: rows[REAL] - rows[FAKE]})
        return by_quantity(rows, list(PANELS), window=self.smooth)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel each for real, generated and difference."""
        note = with_smoothing("mean over the batch, before any sigmoid", self.smooth)
        draw_quantities(figure, prepared.table, PANELS, title=self.title, note=note)
