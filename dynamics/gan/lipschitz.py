"""How steep the critic is where it is used: at real images, at generated ones, and between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamics.evaluation import evaluating
from dynamics.gan.gradient_penalty import gradient_norms, interpolate
from dynamics.seeding import generator as stream

if TYPE_CHECKING:
    from torch import Tensor, nn


def gradient_extremes(critic: nn.Module, real: Tensor, fake: Tensor, *, seed: int) -> dict[str, float]:
    """Return the critic's largest gradient norm at real images, at generated ones and between them.

    Taken in evaluation mode, in which each image is judged by itself: each number is a lower bound of the critic's
    Lipschitz constant. Spectral normalisation bounds it by the product of the layers' **operator** norms; that product
    is above 1, as W is divided by the norm of the unfolded kernel, not of the convolution.

    Args:
        critic: Images to ``(n, 1)``.
        real: Images in -1..1, ``(n, channels, h, w)``.
        fake: As many generated ones.
        seed: Of the points between.

    Returns:
        ``critic_gradient_real``, ``critic_gradient_fake`` and ``critic_gradient_between``; NaN if any gradient is.
    """
    points = {"real": real, "fake": fake, "between": interpolate(real, fake, generator=stream(seed, "lipschitz"))}
    with evaluating(critic):
        return {f"critic_gradient_{name}": gradient_norms(critic, x).max().item() for name, x in points.items()}
