"""Runs metrics on observations; metrics that share a function are computed together, and one failure spoils no other.

Observations of several steps are computed together too: a function is called once with the tensors of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading
from probes.measuring.result import Result
from probes.metrics import Metric
from probes.schema import DENSE_TABLES

State = dict[str, dict[int, Tensor]]  # by metric and layer: the tensor kept from one record to the next
Fail = Callable[[str, Exception, int], None]


class _Job(NamedTuple):
    """A metric, and the tensors it is computed of at one step."""

    metric: Metric
    step: int
    reading: Reading


def measure(
    metrics: Sequence[Metric], observations: Sequence[Observation], *, state: State, fail: Fail
) -> list[Result]:
    """Return the results of the metrics; a metric whose source has no tensors at a step has none there.

    Args:
        metrics: The metrics to compute.
        observations: The tensors, of one step or several.
        state: The tensors that metrics keep from one record to the next; updated.
        fail: Called with metric, exception and step when something fails.
    """
    together: dict[Any, list[_Job]] = {}
    with torch.no_grad():
        for metric in metrics:
            for observation in observations:
                if (reading := _read(metric, observation, fail)) is not None:
                    alone = metric.keeps_state or metric.table not in DENSE_TABLES
                    job = _Job(metric, observation.step, reading)
                    together.setdefault(metric.name if alone else metric.compute, []).append(job)
        return [result for jobs in together.values() for result in _compute(jobs, state, fail)]


def _read(metric: Metric, observation: Observation, fail: Fail) -> Reading | None:
    try:
        reading = observation.read(metric.reads)
        return reading if len(reading.tensors) else None
    except Exception as failure:
        fail(metric.name, failure, observation.step)
        return None


def _compute(jobs: list[_Job], state: State, fail: Fail) -> list[Result]:
    """Compute jobs that share a function with one call; one by one where that fails."""
    if len(jobs) > 1 and jobs[0].metric.keeps_state:
        return [result for job in jobs for result in _compute([job], state, fail)]
    try:
        return [_with_state(jobs[0], state)] if jobs[0].metric.keeps_state else _with_one_call(jobs)
    except Exception as failure:
        if len(jobs) > 1:
            return [result for job in jobs for result in _compute([job], state, fail)]
        fail(jobs[0].metric.name, failure, jobs[0].step)
        return []


def _with_one_call(jobs: list[_Job]) -> list[Result]:
    if len(jobs) == 1:
        values = jobs[0].metric.compute(jobs[0].reading.tensors)
    else:
        values = jobs[0].metric.compute([tensor for job in jobs for tensor in job.reading.tensors])
    results, first = [], 0
    for job in jobs:
        last = first + len(job.reading.indices)
        results.append(_result(job, values[..., first:last]))
        first = last
    return results


def _with_state(job: _Job, state: State) -> Result:
    kept = state.setdefault(job.metric.name, {})
    indices, tensors = job.reading
    values, new = job.metric.compute(tensors, [kept.get(index) for index in indices])
    kept.update(zip(indices, new, strict=True))
    return _result(job, values)


def _result(job: _Job, values: Tensor) -> Result:
    """Return the rows that the metric has columns for."""
    own = job.metric.table in DENSE_TABLES and job.metric.finish is None
    return Result(job.metric, job.step, job.reading.indices, values[: len(job.metric.columns)] if own else values)
