"""The record of one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from probes.background.snapshot import Snapshot
from probes.measuring.result import Result


@dataclass
class Record:
    """The record of one step; its tensors are on the CPU, or on their way there until all of ``ready`` are reached.

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
        """Memory of its values; a budget pays for the copies."""
        return sum(result.values.nbytes for result in self.results)

    def wait(self) -> None:
        """Block the calling thread until the tensors have arrived from the device."""
        for event in self.ready:
            event.synchronize()
