"""Spectral norm, stable rank and effective rank of the gradient, the matrix before the optimizer."""

from __future__ import annotations

from probes.metrics.matrix_spectrum import EVERY_NTH, numbers_from_below, scaled_columns, spectrum_numbers
from probes.metrics.metric import Metric
from probes.schema import Column

_GRADIENT = "gradient as the optimizer uses it, unfolded to (out, in*kh*kw)"
_OR_FROM_BELOW = "; from below by Golub-Kahan-Lanczos where grad_effective_rank is null"
_NORM = Column("grad_spectral_norm", "1", f"sigma_1{_OR_FROM_BELOW}", f"{_GRADIENT}; largest of a stack")
_STABLE = Column(
    "grad_stable_rank",
    "1",
    "sum_i sigma_i^2 / sigma_1^2",
    f"{_GRADIENT}; mean over a stack",
    "Rudelson and Vershynin 2007",
)

GRADIENT_SPECTRUM = Metric(
    "gradient_spectrum",
    "optimizer",
    "gradient_scaled_spectra",
    scaled_columns,
    (
        _NORM,
        _STABLE,
        Column(
            "grad_effective_rank",
            "1",
            "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)",
            f"{_GRADIENT}; mean over a stack; of large matrices in turns",
            "Roy and Vetterli 2007",
        ),
    ),
    every_nth_record=EVERY_NTH,
    finish=lambda columns: spectrum_numbers(columns)[:3],
)
GRADIENT_NORM = Metric(
    "gradient_spectral_norm",
    "optimizer",
    "gradient_unsolved_matrices",
    numbers_from_below,
    (_NORM, _STABLE),
    every_nth_record=EVERY_NTH,
)
