"""Power iteration: one step of a pair of unit vectors towards a matrix's largest singular value."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12  # smallest sigma divided by, as in torch's own spectral norm
# This much of the old vector is mixed into its successor: below the last digit of any product but zero, and where the
# product is zero it is the successor. So an all-zero matrix does not stop the iteration for good.
MEMORY = 1e-18


def iterate(matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Make one power iteration on u and v, in place, and return sigma.

    ``u <- Wv / |Wv|``, ``v <- W^T u / |W^T u|``; then u^T W v = |W^T u|, so sigma needs no product of its own. An
    all-zero matrix leaves u and v as they are, and sigma is 1e-18. A NaN in the matrix gives NaN.

    Args:
        matrix: W, ``(rows, columns)``, without gradient.
        u: Left vector, ``(rows,)``.
        v: Right vector, ``(columns,)``.

    Source: Miyato et al. 2018, algorithm 1.
    """
    # Autocast leaves operations in place alone: sigma is taken in the weight's own precision.
    normalise(u.addmv_(matrix, v, beta=MEMORY))
    return normalise(v.addmv_(matrix.mT, u, beta=MEMORY))


def normalise(vector: Tensor) -> Tensor:
    """Divide a vector, or a tensor taken as one, by its length, in place; return the length."""
    length = torch.linalg.vector_norm(vector)
    vector.div_(length)
    return length


def multiply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return ``matrix @ vector`` in their own precision, autocast or not."""
    # A call with out= is one that autocast leaves alone.
    return torch.mv(matrix, vector, out=vector.new_empty(matrix.shape[0]))
