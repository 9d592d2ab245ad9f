"""The RMS norm of a weight: the largest rms that an output can have, relative to the rms of its input."""

from __future__ import annotations

from torch import Tensor

from probes.metrics.matrix_spectrum import EVERY_NTH, rms_norms_from_below, rms_norms_solved, scaled_columns
from probes.metrics.metric import Metric
from probes.schema import Column

_RMS = Column(
    "weight_rms_norm",
    "1",
    "sqrt(in / out) sigma_1; from below where singular_value_mean is null",
    "effective weight, unfolded to (out, in*kh*kw); largest of a stack",
    "Yang et al. 2023; Bernstein and Newhouse 2024",
)


def _is_real(stack: Tensor) -> bool:
    return not stack.is_complex()


RMS_NORM = Metric(
    "weight_rms_norm",
    "optimizer",
    "scaled_spectra",
    scaled_columns,
    (_RMS,),
    every_nth_record=EVERY_NTH,
    finish=rms_norms_solved,
    deferrable=True,
)
RMS_NORM_OF_LARGE = Metric(
    "weight_rms_norm_of_large",
    "optimizer",
    "unsolved_matrices",
    rms_norms_from_below,
    (_RMS,),
    every_nth_record=EVERY_NTH,
    applies=_is_real,
)
