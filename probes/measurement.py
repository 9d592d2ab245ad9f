"""Runs metrics on an observation, those that share a function together; a failure of one spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from probes.metrics import Metric
from probes.observation import Observation, Reading
from probes.records import Result
from probes.schema import LAYERS

Carried = dict[str, dict[int, Tensor]]  # by metric and layer: what a metric hands itself
Fail = Callable[[str, Exception], None]


def measure(metrics: Sequence[Metric], observation: Observation, *, carried: Carried, fail: Fail) -> list[Result]:
    """Return what the metrics give; those whose source has no tensors give nothing.

    Args:
        metrics: What to run.
        observation: The tensors.
        carried: What metrics have handed themselves, and will.
        fail: Told the metric and the exception when something fails.
    """
    together: dict[Any, list[tuple[Metric, Reading]]] = {}
    with torch.no_grad():
        for metric in metrics:
            if (reading := _read(metric, observation, fail)) is not None:
                alone = metric.carries or metric.table != LAYERS
                together.setdefault(metric.name if alone else metric.compute, []).append((metric, reading))
        return [result for group in together.values() for result in _compute(group, carried, fail)]


def _read(metric: Metric, observation: Observation, fail: Fail) -> Reading | None:
    try:
        reading = observation.read(metric.reads)
        return reading if len(reading.tensors) else None
    except Exception as failure:
        fail(metric.name, failure)
        return None


def _compute(group: list[tuple[Metric, Reading]], carried: Carried, fail: Fail) -> list[Result]:
    """Call the function that some metrics share, for all of them at once; singly if that fails."""
    try:
        return _shared(group) if len(group) > 1 else [_single(*group[0], carried)]
    except Exception as failure:
        if len(group) > 1:
            return [result for alone in group for result in _compute([alone], carried, fail)]
        fail(group[0][0].name, failure)
        return []


def _shared(group: list[tuple[Metric, Reading]]) -> list[Result]:
    values = group[0][0].compute([tensor for _, reading in group for tensor in reading.tensors])
    results, first = [], 0
    for metric, reading in group:
        last = first + len(reading.indices)
        results.append(_result(metric, reading.indices, values[..., first:last]))
        first = last
    return results


def _single(metric: Metric, reading: Reading, carried: Carried) -> Result:
    if not metric.carries:
        return _result(metric, reading.indices, metric.compute(reading.tensors))
    kept = carried.setdefault(metric.name, {})
    values, handed = metric.compute(reading.tensors, [kept.get(index) for index in reading.indices])
    kept.update(zip(reading.indices, handed, strict=True))
    return _result(metric, reading.indices, values)


def _result(metric: Metric, indices: list[int], values: Tensor) -> Result:
    """Return the rows that the metric has columns for."""
    own = metric.table == LAYERS and metric.finish is None
    return Result(metric, indices, values[: len(metric.columns)] if own else values)
