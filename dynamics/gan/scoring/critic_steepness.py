"""The critic's gradient norm at real, generated and interpolated images, and its upper bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamics.bounds.lipschitz import lipschitz_bound, operator_norms, unfolded_norms
from dynamics.data.seeding import generator as stream
from dynamics.gan.gradient_penalty import gradient_norms, interpolate
from dynamics.norms.eval_mode import evaluating

if TYPE_CHECKING:
    from torch import Tensor, nn


def gradient_extremes(critic: nn.Module, real: Tensor, fake: Tensor, *, seed: int) -> dict[str, float]:
    """Return the critic's largest gradient norm at real images, at generated ones and between them.

    Taken in evaluation mode, in which each image is judged by itself: each number is a lower bound of the critic's
    Lipschitz constant.

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


def gradient_bounds(critic: nn.Module, example: Tensor) -> dict[str, float]:
    """Return an upper bound of the critic's gradient, and a product that is often mistaken for one.

    ``critic_lipschitz_bound``: product of the layers' operator norms and the scales of batch norm in evaluation; no
    gradient is larger. ``critic_unfolded_product``: the same with sigma(W) of the unfolded kernels, which spectral
    normalisation holds at 1; a convolution stretches more than its unfolded kernel, so it bounds nothing.

    Args:
        critic: Images to ``(n, 1)``.
        example: One image, ``(1, channels, h, w)``.

    Returns:
        Both; empty for a critic with a norm of which no bound is known (layer norm, instance norm).
    """
    try:
        return {
            "critic_lipschitz_bound": lipschitz_bound(critic, operator_norms(critic, example)),
            "critic_unfolded_product": lipschitz_bound(critic, unfolded_norms(critic)),
        }
    except ValueError:  # lipschitz_bound refuses what it cannot bound: not measured, and null in the store
        return {}
