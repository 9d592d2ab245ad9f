"""Singular values of unfolded weights: mean, largest, stable and effective rank, condition number, whole spectrum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import SPECTRA, Column

PADDING = -1.0  # behind the end of a spectrum; no singular value is negative
_FLOOR = 3e-8  # of the largest singular value: what the square root leaves of float64 rounding in the Gram matrix
_LARGE = 64  # smaller sides from which float32 pays
_WIDE = 1.8  # columns a row; squarer matrices are rarely well conditioned
_WELL_CONDITIONED = 8.0  # up to which float32 keeps every singular value within 1e-6 of the largest
_BLOCKS = 4
_SCRATCH = 1 << 19  # elements converted at a time, 4 MB


def singular_values(matrices: list[Tensor]) -> list[Tensor]:
    """Return the singular values of each matrix, descending, float64; within 1e-6 of the largest in any case.

    ``sigma_i = sqrt(lambda_i(G))`` with the Gram matrix ``G = W W^T`` of the smaller side. In float64 products of
    float32 numbers are exact, so that rounding leaves an absolute error of about 3e-8 of the largest singular value,
    and 1e-15 relative where the matrix is well conditioned. On the CPU large, wide matrices are tried in float32 first,
    which is twice as fast; the result stands where it says itself that the condition number is at most 8. Matrices with
    the same smaller side are solved together. A matrix with a NaN or an infinity gives NaN and spoils no other; no
    elements give an empty list.

    On CUDA, where LAPACK's routines wait for the device, the Gram matrices are returned instead, and :func:`spectra_of`
    solves them when they have come to the host.
    """
    if matrices[0].is_cuda:
        return [gram(matrix) for matrix in matrices]
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    groups: dict[int, list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault(min(matrix.shape), []).append(index)
    for side, members in groups.items():
        if side >= _LARGE:
            members = _solve_in_single(matrices, members, results)  # noqa: PLW2901 - those left
        if members:
            spectra = _spectra([matrices[index] for index in members], torch.float64)
            for index, spectrum in zip(members, spectra, strict=True):
                results[index] = spectrum
    return results


def _solve_in_single(matrices: list[Tensor], members: list[int], results: list[Tensor]) -> list[int]:
    """Solve what float32 is enough for, and return the members that it is not enough for."""
    left = []
    for index in members:
        matrix = matrices[index]
        if matrix.device.type == "cpu" and max(matrix.shape) >= _WIDE * min(matrix.shape):
            spectrum = _spectra([matrix], torch.float32)[0]
            if bool(spectrum[0] <= _WELL_CONDITIONED * spectrum[-1]):  # false for NaN
                results[index] = spectrum.double()
                continue
        left.append(index)
    return left


def _spectra(matrices: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the spectra of matrices with the same smaller side, ``(matrices, side)``."""
    if not matrices[0].numel():
        return matrices[0].new_zeros(len(matrices), 0, dtype=dtype)
    return _spectra_of_grams(torch.stack([gram(matrix, dtype) for matrix in matrices]))


def _spectra_of_grams(grams: Tensor) -> Tensor:
    """Return the spectra that belong to the lower triangles of Gram matrices, ``(matrices, side, side)``."""
    finite = grams.diagonal(dim1=1, dim2=2).sum(1).isfinite()
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[:, None, None], grams, 0.0))
    spectra = eigenvalues.clamp_min_(0).sqrt_().flip(1)
    return torch.where(finite[:, None], spectra, torch.nan)


def gram(matrix: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the lower triangle of ``W W^T`` of the smaller side, ``(side, side)``; above it anything may stand."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    if len(wide) < _LARGE:
        wide = wide.to(dtype)
        return wide @ wide.mT
    product = wide.new_zeros(len(wide), len(wide), dtype=dtype)
    rows = -(-len(wide) // _BLOCKS)
    blocks = [(first, min(first + rows, len(wide))) for first in range(0, len(wide), rows)]
    # Piece by piece, so that a second thread needs little memory beside a backward pass that has all of its own.
    converts = wide.dtype != dtype and wide.device.type == "cpu"
    for piece in wide.split(max(1, _SCRATCH // len(wide)), dim=1) if converts else (wide,):
        columns = piece.to(dtype)
        for first, last in blocks:
            product[first:last, :last].addmm_(columns[first:last], columns[:last].mT)
    return product


def in_columns(solved: list[Tensor]) -> Tensor:
    """Return spectra, or Gram matrices still to be solved, as columns of one matrix, ``(1 + longest, layers)``.

    The first row is 0 above a spectrum and the side above a Gram matrix; ``PADDING`` fills the columns up.
    """
    kinds = [0.0 if values.ndim == 1 else float(len(values)) for values in solved]
    columns = torch.nn.utils.rnn.pad_sequence([values.reshape(-1) for values in solved], padding_value=PADDING)
    first = torch.tensor([kinds], dtype=columns.dtype, device="cpu").to(columns.device, non_blocking=True)
    return torch.cat([first, columns])


def spectra_of(columns: np.ndarray) -> np.ndarray:
    """Return the padded spectra in the columns of :func:`in_columns`, ``(longest, ...)``; solves Gram matrices."""
    sides, columns = columns[0], columns[1:]
    if not sides.any():
        return columns
    spectra = np.full((int(sides.max()), *sides.shape), PADDING)
    for place in np.ndindex(sides.shape):
        side = int(sides[place])
        grams = np.ascontiguousarray(columns[: side * side, *place]).reshape(1, side, side)
        spectra[:side, *place] = _spectra_of_grams(torch.from_numpy(grams))[0].numpy()
    return spectra


def spectrum_statistics(columns: np.ndarray) -> np.ndarray:
    """Return mean, largest, stable rank, effective rank and condition number, ``(5, layers)``, of :func:`in_columns`.

    ``mean = sum(sigma) / r``, ``stable rank = sum(sigma^2) / sigma_1^2``, ``effective rank = exp(-sum p log p)`` with
    ``p = sigma / sum(sigma)`` (Roy and Vetterli 2007), ``condition number = sigma_1 / sigma_r``, infinite where the
    smallest is within rounding of 0 (3e-8 of the largest). A zero matrix gives 0, 0, NaN, NaN, NaN; a NaN spectrum
    gives NaN.
    """
    spectra = spectra_of(columns)
    present = spectra != PADDING
    sigma = np.where(present, spectra, 0.0)
    largest = spectra.max(axis=0)
    smallest = np.where(present, spectra, np.inf).min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = sigma / sigma.sum(axis=0)
        entropy = -np.where(share > 0, share * np.log(share), np.where(share == 0, 0.0, np.nan)).sum(axis=0)
        condition = largest / np.where(smallest <= _FLOOR * largest, 0.0, smallest)
        stable_rank = (sigma**2).sum(axis=0) / largest**2
    return np.stack([sigma.sum(axis=0) / present.sum(axis=0), largest, stable_rank, np.exp(entropy), condition])


_MATRIX = "effective weight, unfolded to (out, in*kh*kw)"
_MIYATO = "Miyato et al. 2018, section 2.1"

# Of a large matrix these two come from power iteration at records without a whole spectrum.
_OR_FROM_BELOW = "; by power iteration, from below, where singular_value_mean is null"
SPECTRAL_NORM = Column("spectral_norm", "1", f"sigma_1{_OR_FROM_BELOW}", _MATRIX, _MIYATO)
STABLE_RANK = Column("stable_rank", "1", "sum_i sigma_i^2 / sigma_1^2", _MATRIX, "Rudelson and Vershynin 2007")

SINGULAR_VALUES = Metric(
    "singular_values",
    "singular_values",
    "singular_values",
    in_columns,
    (
        Column("singular_value_mean", "1", "sum_i sigma_i / r", _MATRIX),
        SPECTRAL_NORM,
        STABLE_RANK,
        Column(
            "effective_rank", "1", "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)", _MATRIX, "Roy and Vetterli 2007"
        ),
        Column("condition_number", "1", "sigma_1 / sigma_r; inf where sigma_r <= 3e-8 sigma_1", _MATRIX),
    ),
    finish=spectrum_statistics,
    deferrable=True,
)
SPECTRUM = Metric(
    "spectrum",
    "spectra",
    "singular_values",
    in_columns,
    table=SPECTRA,
    label="unfolded",
    every_nth_record=10,
    finish=spectra_of,
    deferrable=True,
)
