"""Power iteration: one step of a pair of unit vectors towards a matrix's largest singular value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynamics.norms import torch_internals

EPS = 1e-12  # smallest sigma divided by, as in torch's own spectral norm
# The share of the old vector in the new one. It is below the last digit of any product except zero. If the product is
# zero, the new vector is the old one, so the iteration can go on when an all-zero matrix changes.
MEMORY = 1e-18


def iterate(matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Make one power iteration on u and v, in place, and return sigma: :func:`iterate_all` for one matrix."""
    return iterate_all([matrix], [u], [v])[0]


def iterate_all(matrices: Sequence[Tensor], us: Sequence[Tensor], vs: Sequence[Tensor]) -> list[Tensor]:
    """Make one power iteration for each matrix on its u and v, in place, and return every sigma.

    ``u <- Wv / |Wv|``, ``v <- W^T u / |W^T u|``. Then u^T W v = |W^T u|, so sigma needs no further product. An all-zero
    matrix leaves u and v unchanged, and sigma is 1e-18. A NaN in a matrix gives NaN.

    Args:
        matrices: W, ``(rows, columns)``, without gradient.
        us: Left vectors, ``(rows,)``.
        vs: Right vectors, ``(columns,)``.

    Source: Miyato et al. 2018, algorithm 1.
    """
    # Autocast does not change operations in place, so sigma is computed in the weight's own precision.
    for W, u, v in zip(matrices, us, vs, strict=True):
        u.addmv_(W, v, beta=MEMORY)
    _normalise_all(us)
    return iterate_right(matrices, us, vs)


def iterate_right(matrices: Sequence[Tensor], us: Sequence[Tensor], vs: Sequence[Tensor]) -> list[Tensor]:
    """Make the second half of a power iteration: update the v of each matrix in place and return every sigma.

    A repeated call gives the same v and sigma, because the old v matters only for an all-zero matrix.
    """
    for W, u, v in zip(matrices, us, vs, strict=True):
        v.addmv_(W.mT, u, beta=MEMORY)
    return _normalise_all(vs)


def _normalise_all(vectors: Sequence[Tensor]) -> list[Tensor]:
    """Divide each vector by its length, in place; return the lengths."""
    lengths = torch_internals.l2_norms(vectors)
    torch_internals.divide_(vectors, lengths)
    return lengths


def to_unit_length(vector: Tensor) -> Tensor:
    """Divide a tensor, as one vector, by its length, in place; return the length."""
    length = torch.linalg.vector_norm(vector)
    vector.div_(length)
    return length


def multiply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return ``matrix @ vector`` in their own precision, also under autocast."""
    # Autocast does not change calls with out=.
    return torch.mv(matrix, vector, out=vector.new_empty(matrix.shape[0]))
