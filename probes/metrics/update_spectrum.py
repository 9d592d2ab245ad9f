"""Spectral norm, stable rank, effective rank and RMS norm of the update, the matrix behind the optimizer."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.matrix_spectrum import EVERY_NTH, numbers_from_below, scaled_columns, spectrum_numbers
from probes.metrics.metric import Metric
from probes.schema import Column

_UPDATE = "W' - W of the optimizer step, unfolded to (out, in*kh*kw)"
_OR_FROM_BELOW = "; from below by Golub-Kahan-Lanczos where update_effective_rank is null"
_NORM = Column("update_spectral_norm", "1", f"sigma_1{_OR_FROM_BELOW}", f"{_UPDATE}; largest of a stack")
_RMS = Column(
    "update_rms_norm",
    "1",
    "sqrt(in / out) sigma_1: largest rms of an output per rms of its input",
    f"{_UPDATE}; largest of a stack",
    "Yang et al. 2023; Bernstein and Newhouse 2024",
)
_STABLE = Column(
    "update_stable_rank",
    "1",
    "sum_i sigma_i^2 / sigma_1^2",
    f"{_UPDATE}; mean over a stack",
    "Rudelson and Vershynin 2007",
)


def _from_below(stacks: list[Tensor]) -> Tensor:
    sigma, stable_rank, rms = numbers_from_below(stacks)
    return torch.stack([sigma, rms, stable_rank])


UPDATE_SPECTRUM = Metric(
    "update_spectrum",
    "optimizer",
    "update_scaled_spectra",
    scaled_columns,
    (
        _NORM,
        _RMS,
        _STABLE,
        Column(
            "update_effective_rank",
            "1",
            "exp(-sum_i p_i log p_i), p = sigma / sum(sigma)",
            f"{_UPDATE}; mean over a stack; of large matrices in turns",
            "Roy and Vetterli 2007",
        ),
    ),
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
