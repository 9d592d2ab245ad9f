"""Metrics that need not run between two training steps: on copies, of many steps at once, in the writer's thread.

A call of torch or NumPy between two training steps finds its code gone from the caches, and the tensors of a small
network cost less to copy than to look at. What is recorded is the same, bit for bit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from probes.measurement import Fail, measure
from probes.metrics import METRICS, Metric
from probes.observation import MADE_OF, SetAside, look_at
from probes.records import Result
from probes.schema import HISTOGRAMS

_computing = threading.Lock()


@dataclass(frozen=True)
class Later:
    """Metrics of one step that are still to be run.

    Attributes:
        metrics: Which.
        aside: The tensors they read.
        fail: Told a metric and an exception when something fails.
    """

    metrics: Sequence[Metric]
    aside: SetAside
    fail: Fail


def may_wait(metric: Metric) -> bool:
    """Whether a metric may run on copies in another thread: what a user's own function does there nobody knows."""
    return metric.reads in MADE_OF and not metric.carries and METRICS.get(metric.name) is metric


def work_out(waiting: Sequence[Later]) -> list[list[Result]]:
    """Return the results of each; those that run the same metrics on the same layers are worked out together."""
    with _computing:
        return _work_out(waiting)


def _work_out(waiting: Sequence[Later]) -> list[list[Result]]:
    results: list[list[Result]] = [[] for _ in waiting]
    alike: dict[object, list[int]] = {}
    for place, later in enumerate(waiting):
        alike.setdefault((tuple(metric.name for metric in later.metrics), later.aside.key), []).append(place)
    for places in alike.values():
        for place, found in zip(places, _together([waiting[place] for place in places]), strict=True):
            results[place] = found
    return results


def _together(waiting: Sequence[Later]) -> list[list[Result]]:
    """Work out what is alike in one go; if that fails one after another, so that each failure finds its step."""
    try:
        return _in_one_go(waiting)
    except Exception:
        return [_alone(later) for later in waiting]


def _alone(later: Later) -> list[Result]:
    try:
        observation = look_at([later.aside])
    except Exception as failure:
        for metric in later.metrics:
            later.fail(metric.name, failure)
        return []
    return measure(later.metrics, observation, carried={}, fail=later.fail)


def _in_one_go(waiting: Sequence[Later]) -> list[list[Result]]:
    results: list[list[Result]] = [[] for _ in waiting]
    for result in measure(waiting[0].metrics, look_at([later.aside for later in waiting]), carried={}, fail=_raise):
        for step, part in _by_step(result, waiting[0].aside.stride):
            results[step].append(part)
    return results


def _by_step(result: Result, stride: int) -> Iterator[tuple[int, Result]]:
    """Take apart what belongs to different steps."""
    first = 0
    for step, members in groupby(result.indices, key=lambda index: index // stride):
        indices = [index % stride for index in members]
        last = first + len(indices)
        rows = result.metric.table == HISTOGRAMS  # a row a layer; elsewhere a column
        values = result.values[first:last] if rows else result.values[..., first:last]
        yield step, Result(result.metric, indices, values)
        first = last


def _raise(_: str, failure: Exception) -> None:
    raise failure


if hasattr(os, "register_at_fork"):  # a library's lock that the writer's thread holds would stay locked in the child
    os.register_at_fork(
        before=_computing.acquire, after_in_parent=_computing.release, after_in_child=_computing.release
    )
