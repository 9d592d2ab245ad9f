"""Power iteration: one step of a pair of unit vectors towards a matrix's largest singular value."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12  # smallest length divided by, as in torch's own spectral norm


def iterate(matrix: Tensor, u: Tensor, v: Tensor, *, eps: float = EPS) -> Tensor:
    """Make one power iteration on u and v, in place, and return sigma.

    ``u <- Wv / |Wv|``, ``v <- W^T u / |W^T u|``; then u^T W v = |W^T u|, so sigma needs no product of its own. A vector
    whose successor is shorter than ``eps`` stays as it is, and sigma is 0: an all-zero matrix does not stop the
    iteration for good. A NaN in the matrix gives NaN.

    Args:
        matrix: W, ``(rows, columns)``, without gradient.
        u: Left vector, ``(rows,)``.
        v: Right vector, ``(columns,)``.
        eps: Smallest length divided by.

    Source: Miyato et al. 2018, algorithm 1.
    """
    turn(u, matrix, v, eps=eps)
    return turn(v, matrix.mT, u, eps=eps)


def turn(vector: Tensor, matrix: Tensor, other: Tensor, *, eps: float = EPS) -> Tensor:
    """Turn ``vector``, in place, into ``matrix @ other`` of length 1; return the product's length."""
    return replace_direction(vector, multiply(matrix, other), eps=eps)


def multiply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return ``matrix @ vector`` in their own precision, autocast or not."""
    # A call with out= is one that autocast leaves alone.
    return torch.mv(matrix, vector, out=vector.new_empty(matrix.shape[0]))


def replace_direction(vector: Tensor, product: Tensor, *, eps: float = EPS) -> Tensor:
    """Set ``vector``, in place, to ``product`` of length 1, unless it is shorter than ``eps``; return its length."""
    length = torch.linalg.vector_norm(product)
    torch.where(length < eps, vector, product / length, out=vector)
    return length
