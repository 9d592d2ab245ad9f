"""Singular values of unfolded weights: mean, largest, stable and effective rank, condition number, whole spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes.metrics.flat import batches
from probes.metrics.metric import Metric
from probes.metrics.waiting import looks_wait
from probes.schema import SPECTRA, Column

PADDING = -1.0  # after the end of a spectrum; no singular value is negative
_FLOOR = 3e-8  # share of the largest singular value: the square root of float64 rounding in the Gram matrix
_LARGE = 64  # length of the smaller side from which on float32 saves time
_WIDE = 1.8  # columns per row; matrices closer to square are rarely well conditioned
_WELL_CONDITIONED = 8.0  # condition number up to which float32 errors stay below 1e-6 of the largest value
_BLOCKS = 4
_SCRATCH = 1 << 19  # elements converted at a time, 4 MB
_TOGETHER = 1 << 22  # entries of the Gram matrices that are solved with one call, 32 MB


@dataclass(frozen=True)
class Grams:
    """Gram matrices on the host that replace a stack of matrices on a device.

    Their spectra are still to be solved.

    Attributes:
        values: The lower triangles of ``W W^T`` of the smaller side, ``(E, side, side)``, float64.
        shape: The shape of the stack, ``(E, rows, columns)``.
    """

    values: Tensor
    shape: torch.Size

    @property
    def device(self) -> torch.device:
        """The device of the values, on which their spectra are computed."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Memory of the values."""
        return self.values.nbytes


def grams(stack: Tensor) -> Tensor:
    """Return the lower triangles of the Gram matrices of a stack of real matrices, ``(E, side, side)`` float64."""
    return torch.stack([gram(matrix) for matrix in stack])


def singular_values(matrices: list[Tensor]) -> list[Tensor]:
    """Return the singular values of each matrix, descending, float64, always within 1e-6 of the largest.

    ``sigma_i = sqrt(lambda_i(G))`` with the Gram matrix ``G = W W^T`` of the smaller side. In float64, products of
    float32 numbers are exact. Rounding therefore leaves an absolute error of about 3e-8 of the largest singular value,
    and a relative error of 1e-15 if the matrix is well conditioned. On the CPU, large, wide matrices are tried in
    float32 first, which is twice as fast. The float32 result is kept if its own condition number is at most 8. Matrices
    with the same smaller side are solved together. For a complex matrix, ``G = W W^H``. A matrix with a NaN or an
    infinity gives NaN and does not affect other matrices. No elements give an empty list.

    On CUDA, LAPACK's routines wait for the device. The Gram matrices of real matrices are therefore returned instead,
    and :func:`spectra_of` solves them on the host.
    """
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, matrix in enumerate(matrices):
        if looks_wait(matrix) and not matrix.is_complex():
            results[index] = gram(matrix)
        else:
            groups.setdefault((min(matrix.shape), matrix.is_complex()), []).append(index)
    for (side, is_complex), members in groups.items():
        if side >= _LARGE and not is_complex:
            members = _solve_in_single(matrices, members, results)  # noqa: PLW2901 - those left
        for first, last in batches([side * side] * len(members), _TOGETHER):
            some = members[first:last]
            spectra = _spectra([matrices[index] for index in some], torch.complex128 if is_complex else torch.float64)
            for index, spectrum in zip(some, spectra, strict=True):
                results[index] = spectrum
    return results


def stacked_spectra(stacks: Sequence[Tensor | Grams]) -> list[Tensor]:
    """Return the :func:`singular_values` of each matrix of each stack, ``(E, rows, columns) -> (E, side)``.

    :class:`Grams` are solved too. On CUDA the Gram matrices are returned, ``(E, side, side)``.
    """
    given = [stack for stack in stacks if isinstance(stack, Tensor)]
    solved = iter(singular_values([matrix for stack in given for matrix in stack]))
    return [
        _spectra_of_grams(stack.values)
        if isinstance(stack, Grams)
        else torch.stack([next(solved) for _ in range(len(stack))])
        for stack in stacks
    ]


def _solve_in_single(matrices: list[Tensor], members: list[int], results: list[Tensor]) -> list[int]:
    """Solve the matrices for which float32 is precise enough, and return the indices of the other members."""
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
        return matrices[0].new_zeros(len(matrices), 0, dtype=torch.float64)
    return _spectra_of_grams(torch.stack([gram(matrix, dtype) for matrix in matrices]))


def _spectra_of_grams(grams: Tensor) -> Tensor:
    """Return the spectra that belong to the lower triangles of Gram matrices, ``(matrices, side, side)``."""
    finite = grams.diagonal(dim1=1, dim2=2).sum(1).isfinite()
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[:, None, None], grams, 0.0))
    spectra = eigenvalues.clamp_min_(0).sqrt_().flip(1)
    return torch.where(finite[:, None], spectra, torch.nan)


def gram(matrix: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the lower triangle of ``W W^H`` of the smaller side, ``(side, side)``; other entries are undefined."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    if len(wide) < _LARGE or looks_wait(wide):  # there, a call costs more than the upper triangle
        wide = wide.to(dtype)
        return wide @ wide.mH
    product = wide.new_zeros(len(wide), len(wide), dtype=dtype)
    rows = -(-len(wide) // _BLOCKS)
    blocks = [(first, min(first + rows, len(wide))) for first in range(0, len(wide), rows)]
    # Piece by piece, so that a second thread needs little memory beside the memory of a backward pass.
    converts = wide.dtype != dtype and wide.device.type == "cpu"
    for piece in wide.split(max(1, _SCRATCH // len(wide)), dim=1) if converts else (wide,):
        columns = piece.to(dtype)
        for first, last in blocks:
            product[first:last, :last].addmm_(columns[first:last], columns[:last].mH)
    return product


def in_columns(solved: list[Tensor]) -> Tensor:
    """Return stacks of spectra, or of Gram matrices still to be solved, as columns of one matrix, ``(2 + n, layers)``.

    The first row is 0 for spectra and the side for Gram matrices. The second row is their number in the stack.
    ``PADDING`` fills up the columns.
    """
    kinds = [[0.0 if stack.ndim == 2 else float(stack.shape[1]) for stack in solved], [float(len(s)) for s in solved]]
    columns = torch.nn.utils.rnn.pad_sequence([stack.reshape(-1) for stack in solved], padding_value=PADDING)
    first = torch.tensor(kinds, dtype=columns.dtype, device="cpu").to(columns.device, non_blocking=True)
    return torch.cat([first, columns])


def scaled_columns(solved: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return :func:`in_columns` below a row of each matrix's ``sqrt(in / out)``.

    Args:
        solved: Spectra ``(E, side)``, or Gram matrices on CUDA, each with ``sqrt(in / out)``.
    """
    factors = torch.stack([factor for _, factor in solved]).unsqueeze(0)
    return torch.cat([factors, in_columns([spectra for spectra, _ in solved])])


def single_in_columns(solved: list[Tensor]) -> Tensor:
    """Return :func:`in_columns` of single spectra or Gram matrices."""
    return in_columns([each.unsqueeze(0) for each in solved])


def spectra_of(columns: np.ndarray) -> np.ndarray:
    """Return the padded spectra in the columns of :func:`in_columns`, ``(longest, ...)``; Gram matrices are solved.

    The spectra of a stack follow one another.
    """
    (sides, counts), columns = columns[:2].astype(int), columns[2:]
    if not sides.any():
        return columns
    solved = len(columns) if (sides == 0).any() else 0
    longest = max(int((sides * counts).max()), solved)
    spectra = np.full((longest, *sides.shape), PADDING)
    for place in np.ndindex(sides.shape):
        side, count = sides[place], counts[place]
        if side:
            grams = np.ascontiguousarray(columns[: count * side * side, *place]).reshape(count, side, side)
            spectra[: count * side, *place] = _spectra_of_grams(torch.from_numpy(grams)).numpy().ravel()
        else:
            spectra[: len(columns), *place] = columns[:, *place]
    return spectra


def spectrum_statistics(columns: np.ndarray) -> np.ndarray:
    """Return mean, largest, stable rank, effective rank and condition number, ``(5, layers)``, from :func:`in_columns`.

    ``mean = sum(sigma) / r``, ``stable rank = sum(sigma^2) / sigma_1^2``, ``effective rank = exp(-sum p log p)`` with
    ``p = sigma / sum(sigma)`` (Roy and Vetterli 2007), ``condition number = sigma_1 / sigma_r``. The condition number
    is infinite if the smallest value is within rounding of 0 (3e-8 of the largest). A zero matrix gives 0, 0, NaN, NaN,
    NaN; a NaN spectrum gives NaN. For a stack of matrices, ``sigma_1`` and the condition number are the largest, and
    the others are means.
    """
    counts, spectra = columns[1], spectra_of(columns)
    values = _statistics(spectra)
    for place in map(tuple, np.argwhere(counts > 1)):
        stack = spectra[:, *place]
        values[:, *place] = _of_stack(_statistics(stack[stack != PADDING].reshape(int(counts[place]), -1).T))
    return values


def scaled_statistics(columns: np.ndarray) -> np.ndarray:
    """Return the statistics of :func:`scaled_columns`: those of :func:`spectrum_statistics`, then the RMS norm.

    Returns:
        ``(6, layers)``; the RMS norm is ``sqrt(in / out) sigma_1``.
    """
    statistics = spectrum_statistics(columns[1:])
    return np.vstack([statistics, columns[:1] * statistics[1]])


def _of_stack(each: np.ndarray) -> np.ndarray:
    """Return the statistics of a stack from those of its matrices, ``(5, matrices) -> (5,)``."""
    mean, largest, stable_rank, effective_rank, condition = each
    return np.array([mean.mean(), largest.max(), stable_rank.mean(), effective_rank.mean(), condition.max()])


def _statistics(spectra: np.ndarray) -> np.ndarray:
    """Return the five numbers of each padded spectrum, ``(longest, ...) -> (5, ...)``."""
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


_MATRIX = "effective weight, unfolded to (out, in*kh*kw); mean over a stack"
_LARGEST = "effective weight, unfolded to (out, in*kh*kw); largest of a stack"
_MIYATO = "Miyato et al. 2018, section 2.1"

# For a large matrix, these three come from power iteration at records without a whole spectrum.
_OR_FROM_BELOW = "; by power iteration, from below, where singular_value_mean is null"
SPECTRAL_NORM = Column("spectral_norm", "1", f"sigma_1{_OR_FROM_BELOW}", _LARGEST, _MIYATO)
STABLE_RANK = Column("stable_rank", "1", "sum_i sigma_i^2 / sigma_1^2", _MATRIX, "Rudelson and Vershynin 2007")
RMS_NORM = Column(
    "weight_rms_norm",
    "1",
    f"sqrt(in / out) sigma_1: largest rms of an output per rms of its input{_OR_FROM_BELOW}",
    _LARGEST,
    "Yang et al. 2023; Bernstein and Newhouse 2024",
)

SINGULAR_VALUES = Metric(
    "singular_values",
    "singular_values",
    "scaled_spectra",
    scaled_columns,
    (
        Column("singular_value_mean", "1", "sum_i sigma_i / r", _MATRIX),
        SPECTRAL_NORM,
        STABLE_RANK,
        Column(
            "effective_rank", "1", "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)", _MATRIX, "Roy and Vetterli 2007"
        ),
        Column("condition_number", "1", "sigma_1 / sigma_r; inf where sigma_r <= 3e-8 sigma_1", _LARGEST),
        RMS_NORM,
    ),
    finish=scaled_statistics,
    deferrable=True,
)
SPECTRUM = Metric(
    "spectrum",
    "spectra",
    "singular_values",
    single_in_columns,
    table=SPECTRA,
    label="unfolded",
    every_nth_record=10,
    finish=spectra_of,
    deferrable=True,
)
