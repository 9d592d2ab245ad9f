"""Metrics that need not run between two training steps: on copies, of many steps at once, in the writer's thread.

A call of torch or NumPy between two training steps finds its code gone from the caches; the tensors of a small network
cost less to copy than to look at. What is recorded is the same, bit for bit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from probes.measurement import measure
from probes.metrics import METRICS, Metric
from probes.observation import MADE_OF
from probes.records import Result
from probes.schema import HISTOGRAMS
from probes.set_aside import SetAside, look_at

Failure = tuple[str, Exception, int]  # metric, what happened, step


@dataclass(frozen=True, eq=False)
class Later:
    """Metrics of one step that are still to be run.

    Attributes:
        step: The step.
        metrics: Which.
        aside: The tensors they read.
    """

    step: int
    metrics: Sequence[Metric]
    aside: SetAside

    @property
    def names(self) -> set[str]:
        """The metrics' names."""
        return {metric.name for metric in self.metrics}


def may_wait(metric: Metric) -> bool:
    """Whether a metric may run on copies in another thread: what a user's own function does there nobody knows."""
    return metric.reads in MADE_OF and not metric.carries and METRICS.get(metric.name) is metric


def work_out(waiting: Sequence[Later]) -> tuple[list[list[Result]], list[Failure]]:
    """Return the results of each, and what failed; those with the same metrics and layers are worked out together."""
    results: list[list[Result]] = [[] for _ in waiting]
    failures: list[Failure] = []
    alike: dict[object, list[int]] = {}
    for place, later in enumerate(waiting):
        alike.setdefault((tuple(metric.name for metric in later.metrics), later.aside.key), []).append(place)
    with _computing:
        for places in alike.values():
            found = _together([waiting[place] for place in places], failures)
            for place, of_one in zip(places, found, strict=True):
                results[place] = of_one
    return results, failures


def _together(waiting: Sequence[Later], failures: list[Failure]) -> list[list[Result]]:
    """Work out what is alike in one go; if that fails one after another, so that each failure finds its step."""
    try:
        return _in_one_go(waiting)
    except Exception:
        return [_alone(later, failures) for later in waiting]


def _alone(later: Later, failures: list[Failure]) -> list[Result]:
    def fail(metric: str, failure: Exception) -> None:
        failures.append((metric, failure, later.step))

    try:
        observation = look_at([later.aside])
    except Exception as failure:
        for metric in later.metrics:
            fail(metric.name, failure)
        return []
    return measure(later.metrics, observation, carried={}, fail=fail)


def _in_one_go(waiting: Sequence[Later]) -> list[list[Result]]:
    """Return the results of each; any failure is raised."""
    results: list[list[Result]] = [[] for _ in waiting]
    for result in measure(waiting[0].metrics, look_at([later.aside for later in waiting]), carried={}, fail=_raise):
        for place, part in _by_step(result, waiting[0].aside.stride):
            results[place].append(part)
    return results


def _by_step(result: Result, stride: int) -> Iterator[tuple[int, Result]]:
    """Take apart what belongs to different steps."""
    first = 0
    for place, members in groupby(result.indices, key=lambda index: index // stride):
        indices = [index % stride for index in members]
        last = first + len(indices)
        rows = result.metric.table == HISTOGRAMS  # a row a layer; elsewhere a column
        values = result.values[first:last] if rows else result.values[..., first:last]
        yield place, Result(result.metric, indices, values)
        first = last


def _raise(_: str, failure: Exception) -> None:
    raise failure


_computing = threading.Lock()  # held while a library may hold locks of its own
_held_for_fork: list[bool] = []


def _before_fork() -> None:
    _held_for_fork.append(_computing.acquire())


def _after_fork() -> None:
    if _held_for_fork:  # else a signal has ended the waiting
        _held_for_fork.pop()
        _computing.release()


if hasattr(os, "register_at_fork"):  # a library's lock that the writer's thread holds would stay locked in the child
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
