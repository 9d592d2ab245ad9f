"""What bounds the critic's gradient over training, and what only seems to."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.gan_curves import by_quantity, draw_quantities
from analysis.figures.picture import Picture, Prepared
from probes.schema import STEPS

PANELS = {
    "critic_lipschitz_bound": "∏ operator norms",
    "critic_gradient_between": "largest gradient",
    "critic_unfolded_product": "∏ σ(W), unfolded",
}


@dataclass(frozen=True, kw_only=True)
class GanBounds(Picture):
    """The critic's Lipschitz bound, the largest gradient found, and the product of sigma(W), which is no bound."""

    name = "gan_bounds"
    title = "Lipschitz bound of the critic"
    reads = STEPS
    columns = tuple(PANELS)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the three over runs, a row for each quantity, arm and step."""
        return by_quantity(rows, list(PANELS))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel each; the bound left of what it bounds, what does not bound it right."""
        note = "left: no gradient is larger; right: spectral normalisation holds this one at 1; the line is 1"
        draw_quantities(figure, prepared.table, PANELS, title=self.title, note=note, log=True, level=1.0)
