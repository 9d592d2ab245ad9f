"""Snapshots: copies of one step's tensors, so that deferred metrics are computed after training has moved on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from probes.background.budget import Budget
from probes.background.to_host import arrival, to_host
from probes.measuring.measurement import Fail, measure
from probes.measuring.observation import Observation, Reading
from probes.measuring.result import Result
from probes.measuring.sources import COMPUTED_FROM, DERIVED
from probes.metrics import Metric
from probes.metrics.singular_values import Grams, grams
from probes.metrics.waiting import looks_wait

_DOUBLE = 8  # bytes
_ON_DEVICE = "solved_matrices"  # the only source that a device makes smaller: it gives Gram matrices


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Metrics of one step that are still to be computed, and copies of the tensors that they read.

    Attributes:
        metrics: The metrics.
        observation: The step, seen through the copies.
        nbytes: Memory of the copies.
        ready: CUDA events after which the copies are on the host.
    """

    metrics: tuple[Metric, ...]
    observation: Observation
    nbytes: int
    ready: tuple[Any, ...] = ()


class NoRoomError(Exception):
    """Spectra are left out: they arrive faster than the host solves them, and no step waits for the host."""


def take_snapshot(metrics: Sequence[Metric], observation: Observation, budget: Budget) -> Snapshot | None:
    """Copy what deferrable metrics read.

    A source that another metric reads at once is not copied, because its metrics can be computed at once too. From a
    GPU, the Gram matrices of real matrices are copied, and the host computes their eigenvalues.

    Args:
        metrics: All metrics that are due.
        observation: The tensors. They stay as they are until this returns.
        budget: The budget from which the memory of the copies is taken.

    Returns:
        None where no metric can be deferred, where the tensors are on another device, or where the budget refuses.

    Raises:
        NoRoomError: The tensors are on a GPU, and the budget refuses.
    """
    at_once = {COMPUTED_FROM.get(metric.reads) for metric in metrics if not metric.deferrable}
    deferred = tuple(metric for metric in metrics if metric.deferrable and COMPUTED_FROM[metric.reads] not in at_once)
    if not deferred:
        return None
    originals = {COMPUTED_FROM[metric.reads] for metric in deferred}
    readings = {source: observation.read(source) for source in originals}
    tensors: list[Tensor] = [tensor for reading in readings.values() for tensor in reading.tensors]
    if originals == {_ON_DEVICE} and tensors and all(looks_wait(each) and not each.is_complex() for each in tensors):
        return _of_device(deferred, observation, readings[_ON_DEVICE], budget)
    nbytes = sum(tensor.nbytes for tensor in tensors)
    if not tensors or any(tensor.device.type != "cpu" for tensor in tensors) or not budget.take(nbytes):
        return None
    try:
        copies = {source: partial(_given, _copied(reading)) for source, reading in readings.items()}
    except BaseException:
        budget.give_back(nbytes)
        raise
    return Snapshot(deferred, Observation(observation.step, observation.layers, {**DERIVED, **copies}), nbytes)


def _of_device(
    metrics: tuple[Metric, ...], observation: Observation, reading: Reading, budget: Budget
) -> Snapshot | None:
    nbytes = sum(_DOUBLE * len(stack) * min(stack.shape[1:]) ** 2 for stack in reading.tensors)
    if not budget.take(nbytes, of_device=True):
        raise NoRoomError(
            "the host has not finished the eigenvalues of earlier records, so these are left out. Record"
            ' singular_values less often: every={"singular_values": 1000}'
        )
    try:
        copies = [Grams(to_host(grams(stack)), stack.shape) for stack in reading.tensors]
    except BaseException:
        budget.give_back(nbytes)
        raise
    events = tuple(arrival(device) for device in {stack.device for stack in reading.tensors} if device.type == "cuda")
    given = {_ON_DEVICE: partial(_given, reading._replace(tensors=copies))}
    return Snapshot(metrics, Observation(observation.step, observation.layers, {**DERIVED, **given}), nbytes, events)


def _copied(reading: Reading) -> Reading:
    return reading._replace(tensors=[tensor.clone() for tensor in reading.tensors])


def _given(reading: Reading, _: Observation) -> Reading:
    return reading


def compute(snapshots: Sequence[Snapshot], budget: Budget, *, fail: Fail) -> list[Result]:
    """Return the results of snapshots, and give their memory back.

    Snapshots that defer the same metrics are computed together.
    """
    alike: dict[tuple[str, ...], list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        for event in snapshot.ready:
            event.synchronize()
        alike[tuple(metric.name for metric in snapshot.metrics)].append(snapshot)
    results: list[Result] = []
    for group in alike.values():
        results += measure(group[0].metrics, [each.observation for each in group], state={}, fail=fail)
    budget.give_back(sum(snapshot.nbytes for snapshot in snapshots))
    return results
