"""Spectral norm, stable rank and effective rank of the gradient matrix, before the optimizer changes it."""

from __future__ import annotations

from probes.metrics.matrix_spectrum import (
    EVERY_NTH,
    numbers_from_below,
    spectrum_columns,
    spectrum_numbers,
)
from probes.metrics.metric import Metric
from probes.metrics.singular_values import scaled_columns

_NORM, _STABLE, _EFFECTIVE = spectrum_columns("grad_", "gradient as the optimizer uses it, unfolded to (out, in*kh*kw)")

GRADIENT_SPECTRUM = Metric(
    "gradient_spectrum",
    "optimizer",
    "gradient_scaled_spectra",
    scaled_columns,
    (_NORM, _STABLE, _EFFECTIVE),
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
