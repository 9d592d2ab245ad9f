"""The bound of the critic's gradient during training, and a product that is often mistaken for a bound."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from analysis.plotting.panels.gan_curves import GRADIENT_UNIT, GanCurves, draw_steepness


@dataclass(frozen=True, kw_only=True)
class GanBounds(GanCurves):
    """The critic's Lipschitz bound, the largest gradient found, and the product of sigma(W), which is no bound.

    All three share one scale, so that they can be compared.
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
    note = "left: no gradient is larger; right: spectral normalisation holds this one at 1; the line is 1"
    ylabel = GRADIENT_UNIT
    draw_table = staticmethod(draw_steepness)
