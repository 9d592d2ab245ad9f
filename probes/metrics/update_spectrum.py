"""Spectral norm, stable rank, effective rank and RMS norm of the update matrix that the optimizer makes."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.matrix_spectrum import (
    EVERY_NTH,
    numbers_from_below,
    spectrum_columns,
    spectrum_numbers,
)
from probes.metrics.metric import Metric
from probes.metrics.singular_values import scaled_columns
from probes.schema import Column

_UPDATE = "W' - W of the optimizer step, unfolded to (out, in*kh*kw)"
_NORM, _STABLE, _EFFECTIVE = spectrum_columns("update_", _UPDATE)
_RMS = Column(
    "update_rms_norm",
    "1",
    "sqrt(in / out) sigma_1: largest rms of an output per rms of its input",
    f"{_UPDATE}; largest of a stack",
    "Yang et al. 2023; Bernstein and Newhouse 2024",
)


def _from_below(stacks: list[Tensor]) -> Tensor:
    sigma, stable_rank, rms = numbers_from_below(stacks)
    return torch.stack([sigma, rms, stable_rank])


UPDATE_SPECTRUM = Metric(
    "update_spectrum",
    "optimizer",
    "update_scaled_spectra",
    scaled_columns,
    (_NORM, _RMS, _STABLE, _EFFECTIVE),
    every_nth_record=EVERY_NTH,
    finish=lambda columns: spectrum_numbers(columns)[[0, 3, 1, 2]],
    after_update=True,
)
UPDATE_NORM = Metric(
    "update_spectral_norm",
    "optimizer",
    "update_unsolved_matrices",
    _from_below,
    (_NORM, _RMS, _STABLE),
    every_nth_record=EVERY_NTH,
    after_update=True,
)
