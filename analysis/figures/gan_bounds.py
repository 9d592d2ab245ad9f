"""What bounds the critic's gradient over training, and what only seems to."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.figure import Figure

from analysis.figures.gan_curves import GRADIENT_UNIT, GanCurves, draw_quantities
from analysis.figures.page import with_smoothing
from analysis.figures.picture import Prepared


@dataclass(frozen=True, kw_only=True)
class GanBounds(GanCurves):
    """The critic's Lipschitz bound, the largest gradient found, and the product of sigma(W), which is no bound.

    All three are on one scale, for they are compared.
    """

    name = "gan_bounds"
    title = "Lipschitz bound of the critic"
    words = MappingProxyType(
        {
            "critic_lipschitz_bound": "∏ operator norms",
            "critic_gradient_between": "largest gradient",
            "critic_unfolded_product": "∏ σ(W), unfolded",
        }
    )

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel each; the bound left of what it bounds, what does not bound it right."""
        note = "left: no gradient is larger; right: spectral normalisation holds this one at 1; the line is 1"
        draw_quantities(
            figure,
            prepared.table,
            self.words,
            title=self.title,
            note=with_smoothing(note, self.smooth),
            ylabel=GRADIENT_UNIT,
            log=True,
            level=1.0,
            sharey=True,
        )
