"""The norm of the critic's gradient with respect to its input, and a penalty on its distance from 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def interpolate(real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return one point on the segment between each pair: ``t x + (1 - t) G(z)``, t uniform in 0..1 for each image.

    Args:
        real: Images ``(n, channels, h, w)``.
        fake: Generated images, of the same shape.
        generator: Draws t on the CPU, so that every device gets the same numbers.
    """
    t = torch.rand(len(real), 1, 1, 1, generator=generator).to(real)
    return torch.lerp(fake.detach(), real, t)


def gradient_norms(critic: nn.Module, images: Tensor, *, create_graph: bool = False) -> Tensor:
    """Euclidean norm of the critic's gradient at each image: a lower bound of its Lipschitz constant.

    Formula: ``|d D(x_i) / d x_i|``, from one backward pass of ``sum_i D(x_i)``. A critic may mix the images
    of a batch (batch norm or mean-centring in training mode). The gradient at an image then includes the scores of the
    other images.

    Args:
        critic: Maps images ``(n, channels, h, w)`` to numbers ``(n,)`` or ``(n, 1)``.
        images: Points at which the gradient is computed.
        create_graph: Keep the graph, so that the norm can be differentiated.

    Returns:
        Shape ``(n,)``, in units of output per pixel value; NaN where the critic's gradient is NaN.
    """
    with torch.enable_grad():
        points = images.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=create_graph)
    return torch.linalg.vector_norm(gradients.flatten(1), dim=1)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mean squared distance of the critic's gradient norm from one, between real and generated images; unweighted.

    Formula: ``E[(|grad D(t x + (1 - t) G(z))| - 1)^2]``, t uniform in 0..1; differentiable, by double backward.

    Reference: Gulrajani et al. (2017), "Improved Training of Wasserstein GANs", algorithm 1.
    """
    points = interpolate(real, fake, generator=generator)
    return (gradient_norms(critic, points, create_graph=True) - 1).square().mean()
