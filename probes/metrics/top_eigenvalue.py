"""The largest eigenvalue of small symmetric matrices without LAPACK, which raises on NaN and waits for CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

_SQUARINGS = 40  # separates two eigenvalues that differ by 1e-12 of their size
_AT_ONCE = 5  # squarings without a division: with trace 1 and n = 100, the trace stays at 1e-64 or more
_TINY = 1e-300  # 0 / _TINY = 0 for a zero matrix


def top_eigenvalue(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of each matrix, and the projector on its eigenvectors divided by their number.

    The method is repeated squaring: ``P -> P^2 / tr(P^2)`` keeps only the top eigenvectors of a matrix, and ``lambda =
    tr(P M)``. It suits small float64 matrices. A NaN gives NaN for its own matrix, zeros give 0.

    Args:
        matrices: ``(..., n, n)``, symmetric and positive semidefinite.
    """
    projector = matrices
    for squaring in range(_SQUARINGS):
        if squaring % _AT_ONCE == 0:
            projector = _of_trace_one(projector)
        projector = projector @ projector
    projector = _of_trace_one(projector)
    return (projector * matrices).sum((-2, -1)), projector


def _of_trace_one(matrices: Tensor) -> Tensor:
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    return matrices / torch.where(trace.isnan(), trace, trace.clamp_min(_TINY))[..., None, None]
