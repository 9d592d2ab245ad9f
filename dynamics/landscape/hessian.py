"""The largest eigenvalue of the loss's Hessian, by Lanczos iteration on Hessian-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dynamics.landscape.batch_loss import BatchLoss, flat

_EXHAUSTED = 1e-6  # a residual shorter than this, relative to the largest tridiagonal entry, is rounding error


def top_hessian_eigenvalue(loss: BatchLoss, *, iterations: int = 30, tolerance: float = 1e-3, seed: int = 0) -> float:
    """Return the largest eigenvalue of the Hessian of the loss with respect to all parameters.

    The method is Lanczos: power iteration that keeps its vectors. Its largest Ritz value grows towards the largest
    eigenvalue and stays at or below it, up to rounding. Early in training a negative eigenvalue can be larger in
    magnitude; plain power iteration would then find the negative one. The vectors u and v of spectral norms are
    constants here, as in their gradient. NaN if the loss is NaN. Gradient descent with a constant rate eta is stable if
    the value is below ``2 / eta``.

    Cost: two gradients for each product, and memory for ``iterations`` copies of the parameters.

    Args:
        loss: The loss on one batch; the network must be twice differentiable for autograd.
        iterations: Largest number of products with the Hessian.
        tolerance: The iteration ends when the value's relative change is at most this twice in a row.
        seed: Seed of the start vector.

    Raises:
        ValueError: ``iterations`` is below 1.

    Source: Pearlmutter 1994 (the product); Lanczos 1950 (the iteration).
    """
    if iterations < 1:
        raise ValueError(f"top_hessian_eigenvalue: expected iterations >= 1, got {iterations}")
    at = loss.gradient(loss.parameters, create_graph=True)
    g, point = flat(at.gradient), list(at.point.values())

    def product(v: Tensor) -> Tensor:
        columns = torch.autograd.grad(g, point, v, retain_graph=True, materialize_grads=True)
        return torch.cat([column.reshape(-1) for column in columns])

    start = torch.randn(len(g), generator=torch.Generator().manual_seed(seed)).to(g)
    with torch.no_grad():
        return _largest_ritz_value(product, start, iterations, tolerance)


def _largest_ritz_value(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int, tolerance: float) -> float:
    basis = [start / torch.linalg.vector_norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    value, settled = math.nan, 0
    for _ in range(iterations):
        w = product(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        if not math.isfinite(diagonal[-1]):
            return math.nan
        before, value = value, _largest_eigenvalue(diagonal, beside)
        settled = settled + 1 if abs(value - before) <= tolerance * abs(value) else 0
        for v in basis + basis:  # twice, because rounding brings back earlier directions
            w = w - (w @ v) * v
        length = float(torch.linalg.vector_norm(w))
        if settled == 2 or length <= _EXHAUSTED * max(map(abs, diagonal + beside)):
            break
        beside.append(length)
        basis.append(w / length)
    return value


def _largest_eigenvalue(diagonal: list[float], beside: list[float]) -> float:
    """Return the largest eigenvalue of a symmetric tridiagonal matrix."""
    off = torch.diag(torch.tensor(beside, dtype=torch.float64), 1) if beside else torch.zeros(1, 1, dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + off + off.mT
    return float(torch.linalg.eigvalsh(matrix)[-1])
