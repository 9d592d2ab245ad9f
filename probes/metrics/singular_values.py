"""Singular values of unfolded weights: mean, largest, stable and effective rank, condition number, whole spectrum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import SPECTRA, Column

_DIRECT_BELOW = 16  # rows under which the direct decomposition is not slower than the Gram matrix
PADDING = -1.0  # behind the end of a spectrum; no singular value is negative
_FLOOR = 3e-8  # of the largest singular value: what the square root leaves of float64 rounding in the Gram matrix


def singular_values(matrices: list[Tensor]) -> list[Tensor]:
    """Return the singular values of each matrix, descending, float64.

    ``sigma_i = sqrt(lambda_i(G))`` with the Gram matrix ``G = W W^T`` of the smaller side in float64: products of
    float32 numbers are exact there, so that rounding leaves an absolute error of about 3e-8 of the largest singular
    value, and 1e-15 relative where the matrix is well conditioned. Matrices with the same smaller side are solved in
    one batch; below 16 rows the direct decomposition (float64 ``svdvals``) is used. A matrix with a NaN or an infinity
    gives NaN, and spoils no other; no elements give an empty list.
    """
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    groups: dict[int, list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault(min(matrix.shape), []).append(index)
    for side, members in groups.items():
        spectra = _spectra([matrices[i] for i in members], side)
        for index, spectrum in zip(members, spectra, strict=True):
            results[index] = spectrum
    return results


def _spectra(matrices: list[Tensor], side: int) -> Tensor:
    if side == 0:
        return matrices[0].new_zeros(len(matrices), 0, dtype=torch.float64)
    grams = torch.stack([gram(matrix) for matrix in matrices])  # (matrices, side, side)
    finite = grams.diagonal(dim1=1, dim2=2).sum(1).isfinite()
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[:, None, None], grams, 0.0))
    spectra = eigenvalues.clamp_min_(0).sqrt_().flip(1)
    return torch.where(finite[:, None], spectra, torch.nan)


def gram(matrix: Tensor) -> Tensor:
    """Return ``W W^T`` of the smaller side in float64, ``(side, side)``."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    wide = wide.double()
    return wide @ wide.mT


def spectrum_statistics(spectra: np.ndarray) -> np.ndarray:
    """Return mean, largest, stable rank, effective rank and condition number, ``(5, layers)``, of ``(sides, layers)``.

    ``mean = sum(sigma) / r``, ``stable rank = sum(sigma^2) / sigma_1^2``, ``effective rank = exp(-sum p log p)`` with
    ``p = sigma / sum(sigma)`` (Roy and Vetterli 2007), ``condition number = sigma_1 / sigma_r``, infinite where the
    smallest is within rounding of 0 (3e-8 of the largest). A zero matrix gives 0, 0, NaN, NaN, NaN; a NaN spectrum
    gives NaN.
    """
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


def padded_spectra(spectra: list[Tensor]) -> Tensor:
    """Return the spectra as rows of one matrix, ``(layers, largest side)``, filled up with ``PADDING``."""
    return torch.nn.utils.rnn.pad_sequence(spectra, batch_first=True, padding_value=PADDING)


def spectra_in_columns(spectra: list[Tensor]) -> Tensor:
    """Return the padded spectra as ``(largest side, layers)``; statistics are taken on the host, many steps at once."""
    return padded_spectra(spectra).mT


_MATRIX = "effective weight, unfolded to (out, in*kh*kw)"
_MIYATO = "Miyato et al. 2018, section 2.1"

SINGULAR_VALUES = Metric(
    "singular_values",
    "singular_values",
    "singular_values",
    spectra_in_columns,
    (
        Column("singular_value_mean", "1", "sum_i sigma_i / r", _MATRIX),
        Column("spectral_norm", "1", "sigma_1", _MATRIX, _MIYATO),
        Column("stable_rank", "1", "sum_i sigma_i^2 / sigma_1^2", _MATRIX, "Rudelson and Vershynin 2007"),
        Column(
            "effective_rank", "1", "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)", _MATRIX, "Roy and Vetterli 2007"
        ),
        Column("condition_number", "1", "sigma_1 / sigma_r; inf where sigma_r <= 3e-8 sigma_1", _MATRIX),
    ),
    finish=spectrum_statistics,
)
SPECTRUM = Metric("spectrum", "spectra", "singular_values", padded_spectra, table=SPECTRA, label="unfolded", stride=10)
