"""Largest singular value, stable rank, effective rank and RMS norm of stacks, solved or iterated from below."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probes.metrics.matrix_views import rms_factor
from probes.metrics.operator_norm import Matrices, largest_singular_values
from probes.metrics.singular_values import scaled_statistics
from probes.schema import Column

ITERATIONS = 15  # each takes two passes over the matrix
EVERY_NTH = 10  # every tenth record, as for whole spectra: matrices that take turns then meet all of these records


def spectrum_columns(prefix: str, tensor: str) -> tuple[Column, Column, Column]:
    """Return the columns of spectral norm, stable rank and effective rank of a change of the weight.

    Args:
        prefix: The prefix of their names, such as ``grad_``.
        tensor: The tensor on which they are measured.
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
    gives 0, NaN, NaN, 0; a NaN gives NaN. For a stack, the first and the last number are the largest over its matrices,
    the others are means.
    """
    return scaled_statistics(columns)[[1, 2, 3, 5]]


def numbers_from_below(stacks: list[Tensor]) -> Tensor:
    """Return ``sigma_1``, stable rank and ``sqrt(in / out) sigma_1`` of matrices too large to be solved, float64.

    Shape ``(3, layers)``. The method is Golub-Kahan-Lanczos in 15 steps, as for the operator norm of a convolution. It
    approaches the value from below: to about a thousandth for a random matrix, and exactly if one singular value is
    well separated. A NaN gives NaN.
    """
    found = [_from_below(stack) for stack in stacks]
    return torch.stack(found, dim=1)


def _from_below(stack: Tensor) -> Tensor:
    sigma = largest_singular_values(Matrices(stack), iterations=ITERATIONS)
    squares = torch.linalg.vector_norm(stack.flatten(1), dim=1).double().square()
    return torch.stack([sigma.max(), (squares / sigma.square()).mean(), rms_factor(stack) * sigma.max()])
