"""Unbiased kernel distance between two sets of features (KID), without the assumption of Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1024  # rows of the kernel matrix in memory at once; the whole matrix of 50,000 images takes 20 GB


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel ``k(x, y) = (x.y / d + 1)^3``.

    Formula: ``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)``, all pairs, float64.
    The estimate is unbiased: for two sets of any size from the same distribution its expectation is 0. Single values
    may therefore be negative.

    Reference: Binkowski et al. (2018), "Demystifying MMD GANs".

    Args:
        x: Features of one set, shape ``(n, d)``, n >= 2.
        y: Features of the other set, shape ``(m, d)``, m >= 2.

    Returns:
        The distance, a pure number; NaN if a feature is NaN.

    Raises:
        ValueError: A set has fewer than two vectors, or the vectors have different lengths.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features of shapes {tuple(x.shape)} and {tuple(y.shape)}: expected (n, d) and (m, d), n and m at least 2."
        )
    x, y = x.detach().double(), y.detach().double()
    return _mean_over_pairs(x) + _mean_over_pairs(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def _mean_over_pairs(x: Tensor) -> float:
    """Mean of ``k(x_i, x_j)`` over ``i != j``."""
    with_itself = _kernel(x.square().sum(dim=1), x.shape[1]).sum().item()
    return (_kernel_sum(x, x) - with_itself) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    """Sum of ``k(x_i, y_j)`` over all pairs, a block of rows at a time."""
    return sum(_kernel(rows @ y.mT, x.shape[1]).sum().item() for rows in x.split(BLOCK))


def _kernel(inner_product: Tensor, dimensions: int) -> Tensor:
    return (inner_product / dimensions + 1) ** 3
