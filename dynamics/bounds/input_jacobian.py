"""Sensitivity of a network at single inputs: the norm of its input Jacobian, and the gradient of its margin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.eval_mode import evaluating

_TINY = 1e-30


def jacobian_norms(model: nn.Module, inputs: Tensor, *, iterations: int = 10, seed: int = 0) -> Tensor:
    """Return ``max_v |J(x) v| / |v|`` for each input x: ``(n,)`` float64. J is the network's Jacobian in evaluation.

    The method is power iteration on ``J^T J``, for all inputs at once, in the type of the inputs. Each value is reached
    by an actual direction v. It is therefore a lower bound of the largest singular value of J and of the network's
    Lipschitz constant, up to rounding. An input whose output is NaN gives NaN. The cost is one forward pass, and two
    backward passes for each iteration.

    Args:
        model: The network. Its output for one input must not depend on the other inputs, and it must be twice
            differentiable for autograd. Its parameters and mode are not changed.
        inputs: ``(n, ...)``.
        iterations: Steps of the power iteration; a network of 10 outputs needs few.
        seed: Seed of the random start vectors.

    Raises:
        ValueError: ``iterations`` is below 1, or there are no inputs.

    Source: Virmaux and Scaman 2018, algorithm 1.
    """
    if iterations < 1 or not len(inputs):
        raise ValueError(
            f"jacobian_norms: expected iterations >= 1 and an input, got {iterations=} and {len(inputs)} inputs"
        )
    leaf = inputs.detach().requires_grad_()
    with evaluating(model), torch.enable_grad():
        outputs = model(leaf.clone()).flatten(1)  # a copy, because the first layer may overwrite its input
        u = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, leaf, u, create_graph=True)[0]  # J^T u, whose derivative by u is J
    start = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed))
    pushed = start.to(outputs)
    for _ in range(iterations):
        v = _unit(torch.autograd.grad(outputs, leaf, _unit(pushed), retain_graph=True)[0])
        pushed = torch.autograd.grad(pulled, u, v, retain_graph=True)[0]
    return lengths(pushed)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each margin ``f_y - max_{j != y} f_j``: ``(n,)``, negative if the prediction is wrong."""
    right = logits.gather(1, labels[:, None]).squeeze(1)
    return right - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def margin_gradient_norms(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the length of the gradient of each input's :func:`margins` in evaluation: ``(n,)`` float64.

    A margin is a difference of two outputs, so this length is at most ``sqrt(2)`` times the network's Lipschitz
    constant.

    Args:
        model: Maps inputs to logits, ``(n, classes)``, two classes or more.
        inputs: ``(n, ...)``.
        labels: ``(n,)``.

    Source: Tsuzuku, Sato and Sugiyama 2018, proposition 1.
    """
    leaf = inputs.detach().requires_grad_()
    with evaluating(model), torch.enable_grad():
        total = margins(model(leaf.clone()), labels).sum()
    return lengths(torch.autograd.grad(total, leaf)[0])


def lengths(vectors: Tensor) -> Tensor:
    """Return the length of each vector, ``(n, ...) -> (n,)``, in float64, so that no square overflows."""
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64)


def _unit(vectors: Tensor) -> Tensor:
    scale = 1 / lengths(vectors).clamp_min(_TINY)
    return (vectors * scale.view(-1, *(1,) * (vectors.ndim - 1))).to(vectors.dtype)
