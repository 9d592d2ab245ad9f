"""Largest singular value, stable rank and RMS norm of matrices that are too large to be solved at every record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.metrics.matrix_views import rms_factor
from probes.metrics.metric import Metric
from probes.metrics.singular_values import RMS_NORM, SPECTRAL_NORM, STABLE_RANK

_FIRST, _LATER = 20, 4  # iterations at the first record, and from the last record's vector
_FRESH = (
    0.05  # share of a fixed pseudo-random direction in the start: a vector orthogonal to the last one may have grown
)


def numbers_of_large(stacks: list[Tensor], starts: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor]]:
    """Return ``sigma_1``, ``sum(|W|^2) / sigma_1^2``, ``sqrt(in / out) sigma_1``, and the vectors for the next start.

    The numbers have shape ``(3, layers)``. For stacked matrices ``(E, rows, columns)``, the second number is the mean
    over the matrices and the others are the largest. The method is power iteration on ``W W^H``, from below. It is
    exact to rounding if the largest singular value is well separated. If the next value is close, the result is too
    small by at most about half of their distance. A matrix with a NaN or an infinity gives NaN. Zeros give 0, NaN and
    0. Source: Miyato et al. 2018, Algorithm 1.
    """
    found = [_iterate(stack, start) for stack, start in zip(stacks, starts, strict=True)]
    values = [
        torch.stack([sigma.max(), (_squares(stack) / sigma.square()).mean(), rms_factor(stack) * sigma.max()])
        for stack, (sigma, _) in zip(stacks, found, strict=True)
    ]
    return torch.stack(values, dim=1), [vectors for _, vectors in found]


def _squares(stack: Tensor) -> Tensor:
    return torch.linalg.vector_norm(stack.flatten(1), dim=1).double().square()


def _iterate(stack: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the largest singular value of each matrix, ``(E,)`` float64, and its vector on the shorter side."""
    wide = stack if stack.shape[1] <= stack.shape[2] else stack.mH
    u = _pseudo_random(wide)
    if start is not None and start.shape == u.shape:
        known = torch.nan_to_num(start.to(wide, non_blocking=True), nan=0.0, posinf=0.0, neginf=0.0)
        u = known + _FRESH * u
    sigma = torch.linalg.vector_norm(u, dim=1)
    for _ in range(_FIRST if start is None else _LATER):
        v = _unit(wide.mH @ u)
        u = wide @ v
        sigma = torch.linalg.vector_norm(u, dim=1)
        u = _unit(u)
    return sigma.squeeze(1).double(), u


def _pseudo_random(stack: Tensor) -> Tensor:
    generator = torch.Generator(device=stack.device).manual_seed(0)
    shape = *stack.shape[:2], 1
    return _unit(torch.randn(shape, generator=generator, dtype=stack.dtype, device=stack.device))


def _unit(vectors: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(lengths == 0, 1.0, lengths)


POWER_ITERATION = Metric(
    "power_iteration",
    "singular_values",
    "unsolved_matrices",
    numbers_of_large,
    (SPECTRAL_NORM, STABLE_RANK, RMS_NORM),
    keeps_state=True,
)
