"""The norm of the critic's gradient at real images, at generated images and between them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from analysis.plotting.panels.gan_curves import GRADIENT_UNIT, GanCurves, draw_steepness


@dataclass(frozen=True, kw_only=True)
class GanGradients(GanCurves):
    """The largest norm of the critic's gradient with respect to its input, on one scale; a line at 1.

    It is a lower bound of the critic's Lipschitz constant. The gradient penalty and spectral normalisation aim at a
    constant of 1.
    """

    name = "gan_gradients"
    title = "The critic's largest gradient"
    words = MappingProxyType(
        {
            "critic_gradient_real": "at real images",
            "critic_gradient_fake": "at generated images",
            "critic_gradient_between": "between them",
        }
    )
    note = "largest |∇D(x)| of a few hundred images, critic in evaluation mode; the line is 1"
    ylabel = f"gradient norm {GRADIENT_UNIT}"
    draw_table = staticmethod(draw_steepness)
