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
    """Return the critic's largest gradient norm at real images, at generated images and at points between them.

    The critic is in evaluation mode, in which its output for an image does not depend on other images. Each number is
    therefore a lower bound of the critic's Lipschitz constant.

    Args:
        critic: Maps images to ``(n, 1)``.
        real: Images in -1..1, ``(n, channels, h, w)``.
        fake: Generated images, of the same shape.
        seed: Seed of the points between.

    Returns:
        ``critic_gradient_real``, ``critic_gradient_fake`` and ``critic_gradient_between``; each is NaN if a gradient at
        its points is NaN.
    """
    points = {"real": real, "fake": fake, "between": interpolate(real, fake, generator=stream(seed, "lipschitz"))}
    with evaluating(critic):
        return {f"critic_gradient_{name}": gradient_norms(critic, x).max().item() for name, x in points.items()}


def gradient_bounds(critic: nn.Module, example: Tensor) -> dict[str, float]:
    """Return an upper bound of the critic's gradient, and a product that is often mistaken for an upper bound.

    ``critic_lipschitz_bound`` is the product of the layers' operator norms and the scales of batch norm in evaluation.
    No gradient is larger. ``critic_unfolded_product`` is the same product with sigma(W) of the unfolded kernels, which
    spectral normalisation keeps at 1. It is no bound, because a convolution can stretch more than its unfolded kernel.

    Args:
        critic: Maps images to ``(n, 1)``.
        example: One image, ``(1, channels, h, w)``.

    Returns:
        Both numbers by name; empty for a critic with a norm without a known bound (layer norm, instance norm).
    """
    try:
        return {
            "critic_lipschitz_bound": lipschitz_bound(critic, operator_norms(critic, example)),
            "critic_unfolded_product": lipschitz_bound(critic, unfolded_norms(critic)),
        }
    except ValueError:  # lipschitz_bound knows no bound: the values are not measured, and null in the store
        return {}
