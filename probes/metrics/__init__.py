"""The metrics. A new one is a file here, a line in ``METRICS`` and a test."""

from __future__ import annotations

from probes.metrics.histogram import GRADIENT_HISTOGRAM, GRADIENT_SPARSITIES, WEIGHT_HISTOGRAM
from probes.metrics.metric import Metric, metric
from probes.metrics.moments import BIAS_MOMENTS, GRADIENT_MOMENTS, RAW_WEIGHT_MOMENTS, WEIGHT_MOMENTS
from probes.metrics.singular_values import SINGULAR_VALUES, SPECTRUM

METRICS: dict[str, Metric] = {
    entry.name: entry
    for entry in (
        WEIGHT_MOMENTS,
        RAW_WEIGHT_MOMENTS,
        BIAS_MOMENTS,
        WEIGHT_HISTOGRAM,
        SINGULAR_VALUES,
        SPECTRUM,
        GRADIENT_MOMENTS,
        GRADIENT_SPARSITIES,
        GRADIENT_HISTOGRAM,
    )
}

__all__ = ["METRICS", "Metric", "metric"]
