"""The metrics.

A new metric is a file here, a line in ``METRICS`` and a test.

Then ``python docs/generated.py --write`` puts its file and its columns into the docs.
"""

from __future__ import annotations

from probes.metrics.activation_gradient import ACTIVATION_GRADIENT
from probes.metrics.activation_moments import ACTIVATION_MOMENTS
from probes.metrics.activation_range import ACTIVATION_RANGE
from probes.metrics.attention import ATTENTION
from probes.metrics.carried_gradient import CARRIED_GRADIENT
from probes.metrics.dead_channels import DEAD_CHANNELS
from probes.metrics.effective_lr import EFFECTIVE_LR, STEP_LENGTH
from probes.metrics.feeds_nonlinearity import FEEDS_NONLINEARITY
from probes.metrics.gradient_noise import GRADIENT_NOISE
from probes.metrics.gradient_spectrum import GRADIENT_NORM, GRADIENT_SPECTRUM
from probes.metrics.histogram import (
    ACTIVATION_HISTOGRAM,
    GRADIENT_HISTOGRAM,
    GRADIENT_SPARSITIES,
    WEIGHT_HISTOGRAM,
)
from probes.metrics.input_rms import INPUT_RMS
from probes.metrics.kernel_slices import KERNEL_SLICES
from probes.metrics.layer_state import LAYER_STATE
from probes.metrics.mean_drift import ACTIVATION_DRIFT
from probes.metrics.metric import Metric, metric
from probes.metrics.moments import BIAS_MOMENTS, GRADIENT_MOMENTS, RAW_WEIGHT_MOMENTS, WEIGHT_MOMENTS
from probes.metrics.operator_norm import OPERATOR_NORM
from probes.metrics.optimizer_moments import FIRST_MOMENT, MOMENT_RATIO, SECOND_MOMENT
from probes.metrics.parameters import GROUP_LR, PARAMETER_GRADIENT_MOMENTS, PARAMETER_MOMENTS
from probes.metrics.power_iteration import POWER_ITERATION
from probes.metrics.router import ROUTER
from probes.metrics.singular_values import SINGULAR_VALUES, SPECTRUM
from probes.metrics.update import UPDATE
from probes.metrics.update_spectrum import UPDATE_NORM, UPDATE_SPECTRUM

METRICS: dict[str, Metric] = {
    entry.name: entry
    for entry in (
        WEIGHT_MOMENTS,
        RAW_WEIGHT_MOMENTS,
        BIAS_MOMENTS,
        PARAMETER_MOMENTS,
        GROUP_LR,
        WEIGHT_HISTOGRAM,
        SINGULAR_VALUES,
        POWER_ITERATION,
        SPECTRUM,
        KERNEL_SLICES,
        OPERATOR_NORM,
        GRADIENT_MOMENTS,
        PARAMETER_GRADIENT_MOMENTS,
        GRADIENT_SPARSITIES,
        GRADIENT_HISTOGRAM,
        GRADIENT_NOISE,
        CARRIED_GRADIENT,
        UPDATE,
        EFFECTIVE_LR,
        STEP_LENGTH,
        FIRST_MOMENT,
        SECOND_MOMENT,
        MOMENT_RATIO,
        GRADIENT_SPECTRUM,
        GRADIENT_NORM,
        UPDATE_SPECTRUM,
        UPDATE_NORM,
        ACTIVATION_MOMENTS,
        ACTIVATION_DRIFT,
        DEAD_CHANNELS,
        FEEDS_NONLINEARITY,
        ACTIVATION_RANGE,
        INPUT_RMS,
        ACTIVATION_HISTOGRAM,
        ACTIVATION_GRADIENT,
        LAYER_STATE,
    )
}

OF_CALLS = (ATTENTION, ROUTER)
"""Metrics of function calls in the forward pass, by modules that are no layers: heads and experts, table ``units``."""

__all__ = ["METRICS", "OF_CALLS", "Metric", "metric"]
