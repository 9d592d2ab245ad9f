"""How many bytes a run will write, from its layers and schedules: an estimate before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyarrow as pa

from probes.measuring.plan import Plan
from probes.metrics.metric import Metric
from probes.model.layer import Layer, raw_parameter
from probes.model.module_kinds import CONVOLUTIONS
from probes.model.parameters import Parameter
from probes.schema import HISTOGRAMS, LAYERS, PARAMETERS, SPECTRA

STEPS = 1000
# Bytes in a closed store, where columns are compressed. On a small CNN and a small transformer 0.82 to 0.87 of the
# estimate was written (docs/store.md).
_KEYS = 4.0  # the keys of a row
_NUMBER = 3.6  # a float32, whose low bits do not compress
_COUNT = 0.2  # a count of non-finite elements: nearly always 0
_HISTOGRAM = 70.0  # a row of table histograms, see probes/metrics/histogram.py
_STEP_ROW = 40.0  # a row of table steps: loss, learning rate, lengths of the gradient, seconds


def bytes_per_1000_steps(plan: Plan, layers: Sequence[Layer], parameters: Sequence[Parameter]) -> int | None:
    """Return the approximate number of bytes that the first 1,000 steps will write, without the overhead of each file.

    None if a schedule is the user's own function, because it must not be called for steps that are not taken.
    """
    total, most = 0.0, 0
    rows = {LAYERS: 0, PARAMETERS: 0}  # records of the metric that fills a table most often
    for metric in plan.metrics:
        records = plan.times_due(metric, range(STEPS))
        if records is None:
            return None
        most = max(most, records)
        if metric.table in rows:
            rows[metric.table] = max(rows[metric.table], records)
        total += records * _bytes(metric, layers, parameters)
    keys = rows[LAYERS] * len(layers) + rows[PARAMETERS] * len(parameters)
    return round(total + _KEYS * keys + _STEP_ROW * most)


def _bytes(metric: Metric, layers: Sequence[Layer], parameters: Sequence[Parameter]) -> float:
    """Return the bytes of one record of a metric, without the keys of its rows."""
    if metric.table == PARAMETERS:
        return len(parameters) * _columns(metric)
    measured = [layer for layer in layers if _applies(metric, layer)]
    if metric.table == HISTOGRAMS:
        return len(measured) * _HISTOGRAM
    if metric.table == SPECTRA:
        return sum(_KEYS + _NUMBER * _rank(layer) for layer in measured)
    return len(measured) * _columns(metric)


def _columns(metric: Metric) -> float:
    return sum(_COUNT if pa.types.is_integer(column.type) else _NUMBER for column in metric.columns)


def _applies(metric: Metric, layer: Layer) -> bool:
    if metric.reducer is not None:
        return layer.observes_output
    return _READS.get(metric.reads, _has_weight)(layer)


def _has_weight(layer: Layer) -> bool:
    return layer.weight is not None


def _rank(layer: Layer) -> int:
    """Return the number of singular values of a layer's unfolded weight; 0 if it is no matrix."""
    parameter = raw_parameter(layer)
    if parameter is None or parameter.ndim < 2 or not parameter.numel():
        return 0
    return min(parameter.shape[0], math.prod(parameter.shape[1:]))


def _is_matrix(layer: Layer) -> bool:
    return _rank(layer) > 0


def _is_convolution(layer: Layer) -> bool:
    return _has_weight(layer) and isinstance(layer.module, CONVOLUTIONS)


_READS: dict[str, Callable[[Layer], bool]] = {
    "raw_weight": lambda layer: layer.parametrized,
    "bias": lambda layer: layer.bias is not None,
    "matrix": _is_matrix,
    "matrices": _is_matrix,
    "spectra": _is_matrix,
    "singular_values": _is_matrix,
    **dict.fromkeys(("scaled_spectra", "gradient_scaled_spectra", "update_scaled_spectra"), _is_matrix),
    # These metrics fill the columns of matrices that are not solved.
    **dict.fromkeys(("unsolved_matrices", "gradient_unsolved_matrices", "update_unsolved_matrices"), lambda _: False),
    "kernel_slices": _is_convolution,
    "convolution": _is_convolution,
}
"""The layers of which a source has tensors.

A source that is not listed has a tensor of each layer with a weight.
"""
