"""Largest singular value and stable rank of matrices that are too large to be solved at every record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.metrics.singular_values import SPECTRAL_NORM, STABLE_RANK

_FIRST, _LATER = 20, 4  # iterations at the first record, and from the vector of the last one
_FRESH = (
    0.05  # of the start is a fixed pseudo-random direction: a vector that the last one has no part of may have grown
)


def largest_and_stable_rank(matrices: list[Tensor], starts: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor]]:
    """Return ``sigma_1`` and ``sum(W^2) / sigma_1^2``, ``(2, layers)`` float64, and the vectors for the next record.

    Power iteration on ``W W^T``, from below: exact to rounding where the largest singular value stands alone, and below
    it by at most about half of its distance to the next where these are close. A matrix with a NaN or an infinity gives
    NaN, zeros give 0 and NaN. Source: Miyato et al. 2018, Algorithm 1.
    """
    found = [_iterate(matrix, start) for matrix, start in zip(matrices, starts, strict=True)]
    largest = torch.stack([sigma for sigma, _ in found]).double()
    lengths = l2_norms(matrices).to(largest.device)
    return torch.stack([largest, lengths.square() / largest.square()]), [vector for _, vector in found]


def _iterate(matrix: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the largest singular value and its left vector, on the side with fewer entries."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    u = _pseudo_random(wide)
    if start is not None:
        known = torch.nan_to_num(start.to(wide, non_blocking=True), nan=0.0, posinf=0.0, neginf=0.0)
        u = known + _FRESH * u
    sigma = wide.new_zeros(())
    for _ in range(_FIRST if start is None else _LATER):
        v = _unit(wide.mT @ u)
        u = wide @ v
        sigma = torch.linalg.vector_norm(u)
        u = _unit(u)
    return sigma, u


def _pseudo_random(matrix: Tensor) -> Tensor:
    generator = torch.Generator(device=matrix.device).manual_seed(0)
    return _unit(torch.randn(len(matrix), generator=generator, dtype=matrix.dtype, device=matrix.device))


def _unit(vector: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vector)
    return vector / torch.where(length == 0, 1.0, length)


POWER_ITERATION = Metric(
    "power_iteration",
    "singular_values",
    "unsolved_matrix",
    largest_and_stable_rank,
    (SPECTRAL_NORM, STABLE_RANK),
    keeps_state=True,
)
