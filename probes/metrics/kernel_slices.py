"""The paper's Fig. 6: the largest singular value of each kernel slice, averaged over the slices."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.top_eigenvalue import top_eigenvalue
from probes.metrics.waiting import looks_wait
from probes.schema import Column


def largest_slice_mean(slices: list[Tensor]) -> Tensor:
    """Return the mean over slices ``W[o, i]`` of the slice's largest singular value: ``(1, layers)`` float64.

    The slices of all layers with the same kernel size are solved together. If the smaller side is at most 3, a closed
    form is used. Larger slices are solved by LAPACK, on CUDA by repeated squaring. A slice with a NaN or an infinity
    makes its layer's mean NaN. Source: the paper.
    """
    means: list[Tensor] = [torch.empty(0)] * len(slices)
    groups: dict[tuple[int, ...], list[int]] = {}  # by number type and kernel size
    for index, batch in enumerate(slices):
        groups.setdefault((batch.is_complex(), *batch.shape[1:]), []).append(index)
    for members in groups.values():
        batches = [slices[index] for index in members]
        largest = largest_singular_values(torch.cat(batches))
        for index, part in zip(members, largest.split([len(batch) for batch in batches]), strict=True):
            means[index] = part.mean()
    return torch.stack(means).unsqueeze(0)


def largest_singular_values(matrices: Tensor) -> Tensor:
    """Return the largest singular value of each small matrix, ``(batch, rows, columns) -> (batch,)`` float64."""
    if matrices.is_complex():
        finite = matrices.isfinite().all(dim=2).all(dim=1)  # LAPACK raises on a NaN
        usable = torch.where(finite[:, None, None], matrices, 0.0).to(torch.complex128)
        return torch.where(finite, torch.linalg.svdvals(usable)[:, 0], torch.nan)
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mT
    rows = matrices.double().permute(1, 2, 0).contiguous()  # (rows, columns, batch): each entry is a long vector
    solve = {1: _of_one, 2: _of_two, 3: _of_three}.get(len(rows), _of_many)
    return solve(rows).clamp_min(0).sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def _of_one(rows: Tensor) -> Tensor:
    return _dot(rows[0], rows[0])


def _of_two(rows: Tensor) -> Tensor:
    """Largest eigenvalue of a symmetric 2 x 2 Gram matrix: ``m + sqrt(d^2 + b^2)``."""
    a, b, c = _dot(rows[0], rows[0]), _dot(rows[0], rows[1]), _dot(rows[1], rows[1])
    return (a + c) / 2 + torch.hypot((a - c) / 2, b)


def _of_three(rows: Tensor) -> Tensor:
    """Largest eigenvalue of a symmetric 3 x 3 Gram matrix: ``q + 2 p cos(phi)`` (Smith 1961)."""
    a, d, f = (_dot(row, row) for row in rows)
    b, c, e = _dot(rows[0], rows[1]), _dot(rows[0], rows[2]), _dot(rows[1], rows[2])
    q = (a + d + f) / 3
    a, d, f = a - q, d - q, f - q
    p = ((a * a + d * d + f * f + 2 * (b * b + c * c + e * e)) / 6).sqrt()
    determinant = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    cosine = torch.where(p == 0, 1.0, determinant / (2 * p**3)).clamp(-1, 1)
    return q + 2 * p * torch.cos(torch.acos(cosine) / 3)


def _of_many(rows: Tensor) -> Tensor:
    grams = torch.einsum("ikn,jkn->nij", rows, rows)
    if looks_wait(grams):
        return top_eigenvalue(grams)[0]
    finite = grams.diagonal(dim1=1, dim2=2).sum(1).isfinite()  # LAPACK raises on a NaN
    largest = torch.linalg.eigvalsh(torch.where(finite[:, None, None], grams, 0.0))[:, -1]
    return torch.where(finite, largest, torch.nan)


KERNEL_SLICES = Metric(
    "kernel_slices",
    "kernel_slices",
    "kernel_slices",
    largest_slice_mean,
    (
        Column(
            "kernel_singular_value_mean",
            "1",
            "mean over (o, i) of the largest singular value of W[o, i]",
            "effective weight, its kernel slices",
            "the paper, Fig. 6",
        ),
    ),
    min_steps_between=10,
)
