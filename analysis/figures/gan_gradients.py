"""How steep the critic is at real images, at generated ones and between them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import by_quantity, draw_quantities
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

PANELS = {
    "critic_gradient_real": "at real images",
    "critic_gradient_fake": "at generated images",
    "critic_gradient_between": "between them",
}


@dataclass(frozen=True, kw_only=True)
class GanGradients(Picture):
    """The largest norm of the critic's gradient with respect to its input; a line at 1.

    A lower bound of the critic's Lipschitz constant, which the gradient penalty and spectral normalisation want at 1.
    """

    name = "gan_gradients"
    title = "The critic's largest gradient"
    reads = STEPS
    columns = tuple(PANELS)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the three maxima over runs, a row for each quantity, arm and step."""
        return by_quantity(rows, list(PANELS))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel each for real, generated and interpolated images."""
        draw_quantities(
            figure,
            prepared.table,
            PANELS,
            title=self.title,
            note="largest |∇D(x)| of a few hundred images, critic in evaluation mode; the line is 1",
            ylabel="gradient norm [output / pixel value]",
            log=True,
            level=1.0,
        )
