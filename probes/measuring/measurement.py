"""Runs metrics on observations; metrics that share a function are computed together, and one failure spoils no other.

A function is called once with the tensors of all metrics that share it, and of all steps that are observed together. If
this call raises, each metric and step is computed alone. If that raises too, each layer is computed alone. A layer that
cannot be measured therefore costs no other layer its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading, without_frames
from probes.measuring.result import Result
from probes.metrics import Metric
from probes.schema import DENSE_TABLES

State = dict[str, dict[int, Tensor]]  # by metric and layer: the tensor kept from one record to the next


class Fail(Protocol):
    """A function that takes a failure: metric, exception, step, and the layer's name if one layer alone failed."""

    def __call__(self, what: str, failure: Exception, step: int, /, **place: Any) -> None:
        """Take a failure; ``layer=`` is the layer's name."""


class _Job(NamedTuple):
    """A metric, and the tensors of one step from which it is computed."""

    metric: Metric
    observation: Observation
    reading: Reading


def measure(
    metrics: Sequence[Metric], observations: Sequence[Observation], *, state: State, fail: Fail
) -> list[Result]:
    """Return the results of the metrics.

    A metric whose source has no tensors at a step has no result there.

    Args:
        metrics: The metrics to compute.
        observations: The tensors, of one step or several.
        state: The tensors that metrics keep from one record to the next; updated.
        fail: Called with metric, exception and step when something fails, and with the layer's name if only some layers
            fail.
    """
    together: dict[Any, list[_Job]] = {}
    with torch.no_grad():
        for metric in metrics:
            alone = metric.keeps_state or metric.table not in DENSE_TABLES
            for observation in observations:
                for device, reading in _read(metric, observation, fail).by_device():
                    job = _Job(metric, observation, reading)
                    together.setdefault((metric.name if alone else metric.compute, device), []).append(job)
        return [result for jobs in together.values() for result in _compute(jobs, state, fail)]


def _read(metric: Metric, observation: Observation, fail: Fail) -> Reading:
    """Return the reading of a metric's source, without the layers for which the metric is not defined."""
    try:
        reading = observation.read(metric.reads)
        _tell(metric, observation, reading.failures, fail, everywhere=not len(reading.indices))
        if metric.applies is None or all(map(metric.applies, reading.tensors)):
            return reading
        kept = {index: tensor for index, tensor in reading.by_layer().items() if metric.applies(tensor)}
        return Reading(list(kept), list(kept.values()))
    except Exception as failure:
        fail(metric.name, failure, observation.step)
        return Reading([], [])


def _compute(jobs: list[_Job], state: State, fail: Fail) -> list[Result]:
    """Compute jobs that share a function with one call.

    If it fails, compute job by job, then layer by layer.
    """
    keeps_state = jobs[0].metric.keeps_state
    if len(jobs) > 1 and keeps_state:
        return [result for job in jobs for result in _compute([job], state, fail)]
    try:
        return [_with_state(jobs[0], state)] if keeps_state else _with_one_call(jobs)
    except Exception as failure:
        if len(jobs) == 1:
            return _layer_by_layer(jobs[0], failure, state, fail)
        return [result for job in jobs for result in _compute([job], state, fail)]


def _layer_by_layer(job: _Job, failure: Exception, state: State, fail: Fail) -> list[Result]:
    """Compute a job that has failed as a whole for each layer alone."""
    results: list[Result] = []
    indices = job.reading.indices
    failures = {indices[0]: failure} if len(indices) == 1 else {}
    for place, index in enumerate(() if failures else indices):
        alone = job._replace(reading=Reading([index], job.reading.tensors[place : place + 1]))
        try:
            results += [_with_state(alone, state)] if job.metric.keeps_state else _with_one_call([alone])
        except Exception as own:
            failures[index] = without_frames(own)
    _tell(job.metric, job.observation, failures, fail, everywhere=not results)
    return results


def _tell(
    metric: Metric, observation: Observation, failures: Mapping[int, Exception], fail: Fail, *, everywhere: bool
) -> None:
    """Report the failed layers: once for all of them if all failed for the same reason, otherwise one by one."""
    whys = {(type(failure), str(failure)) for failure in failures.values()}
    if everywhere and len(failures) > 1 and len(whys) == 1:
        fail(metric.name, next(iter(failures.values())), observation.step)
        return
    for index, failure in failures.items():
        fail(metric.name, failure, observation.step, **observation.place(metric.table, index))


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
    indices, tensors = job.reading.indices, job.reading.tensors
    values, new = job.metric.compute(tensors, [kept.get(index) for index in indices])
    kept.update(zip(indices, new, strict=True))
    return _result(job, values)


def _result(job: _Job, values: Tensor) -> Result:
    """Return as many rows of the values as the metric has columns."""
    own = job.metric.table in DENSE_TABLES and job.metric.finish is None
    rows = values[: len(job.metric.columns)] if own else values
    return Result(job.metric, job.observation.step, job.reading.indices, rows)
