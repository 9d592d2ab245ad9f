"""The record of one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from probes.background.snapshot import Snapshot
from probes.measuring.result import Result
from probes.schema import DENSE_TABLES, HISTOGRAMS

FILLED_BINS = 1 / 4  # of a histogram, about: the log omits empty bins at both ends, and its counts are half as wide


@dataclass
class Record:
    """The record of one step.

    Its tensors are on the CPU, or being copied there until all of ``ready`` are reached.

    Attributes:
        step: Optimizer steps finished before.
        epoch: Pass through the data; None if unknown.
        results: The values that are computed.
        ready: CUDA events after which the values are on the host.
        snapshots: Metrics that are still to be computed, with copies of the tensors that they read.
    """

    step: int
    epoch: int | None = None
    results: list[Result] = field(default_factory=list)
    ready: list[Any] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Memory of its values, without the copies, which a budget counts."""
        return sum(result.values.nbytes for result in self.results)

    @property
    def logged_bytes(self) -> int:
        """The approximate number of bytes that its values take in the log."""
        return sum(map(_logged_bytes, self.results))

    def wait(self) -> None:
        """Block the calling thread until the tensors have arrived from the device."""
        for event in self.ready:
            event.synchronize()


def _logged_bytes(result: Result) -> int:
    if result.metric.table in DENSE_TABLES:  # the values of some metrics are histograms until the host has summed them
        return 4 * len(result.metric.columns) * len(result.indices)
    return round(result.values.nbytes * (FILLED_BINS if result.metric.table == HISTOGRAMS else 1))
