"""Largest singular value, stable rank, effective rank and RMS norm of stacks of matrices, solved or from below."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.metrics.matrix_views import rms_factor
from probes.metrics.operator_norm import Matrices, largest_singular_values
from probes.metrics.singular_values import scaled_statistics
from probes.schema import Column

ITERATIONS = 15  # each two passes over the matrix
EVERY_NTH = 10  # record; the same as of whole spectra, so that matrices that take turns meet all of these records


def spectrum_columns(prefix: str, tensor: str) -> tuple[Column, Column, Column]:
    """Return the columns of spectral norm, stable rank and effective rank of a change of the weight.

    Args:
        prefix: How their names begin: ``grad_``.
        tensor: What they are measured on.
    """
    from_below = f"; from below by Golub-Kahan-Lanczos where {prefix}effective_rank is null"
    ranks = f"{tensor}; mean over a stack"
    formulas = ("sum_i sigma_i^2 / sigma_1^2", "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)")
    return (
        Column(f"{prefix}spectral_norm", "1", f"sigma_1{from_below}", f"{tensor}; largest of a stack"),
        Column(f"{prefix}stable_rank", "1", formulas[0], ranks, "Rudelson and Vershynin 2007"),
        Column(
            f"{prefix}effective_rank", "1", formulas[1], f"{ranks}; of large matrices in turns", "Roy and Vetterli 2007"
        ),
    )


def spectrum_numbers(columns: np.ndarray) -> np.ndarray:
    """Return ``sigma_1``, stable rank, effective rank and ``sqrt(in / out) sigma_1`` of spectra in scaled columns.

    Shape ``(4, layers)``; the columns are those of :func:`probes.metrics.singular_values.scaled_columns`. A zero matrix
    gives 0, NaN, NaN, 0; a NaN gives NaN. Of a stack the largest of the first and the last, the means of the others.
    """
    return scaled_statistics(columns)[[1, 2, 3, 5]]


def numbers_from_below(stacks: list[Tensor]) -> Tensor:
    """Return ``sigma_1``, stable rank and ``sqrt(in / out) sigma_1`` of matrices too large to be solved, float64.

    Shape ``(3, layers)``. By Golub-Kahan-Lanczos in 15 steps, as the operator norm of a convolution: from below, to
    about a thousandth of a random matrix, and exact where one singular value stands alone. A NaN gives NaN.
    """
    found = [_from_below(stack) for stack in stacks]
    return torch.stack(found, dim=1)


def _from_below(stack: Tensor) -> Tensor:
    sigma = largest_singular_values(Matrices(stack), iterations=ITERATIONS)
    squares = torch.linalg.vector_norm(stack.flatten(1), dim=1).double().square()
    return torch.stack([sigma.max(), (squares / sigma.square()).mean(), rms_factor(stack) * sigma.max()])
