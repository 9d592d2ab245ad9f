"""A fixed number of records in a run, whatever its length: a store of many runs stays small."""

from __future__ import annotations

from typing import Any, Protocol

from probes.metrics import METRICS
from probes.schedule import Schedule, at

# Groups that are large or expensive, if there are such.
LARGE = ("weight_histograms", "activation_histograms", "spectra", "operator_norm", "kernel_slices", "channels")
LARGE_METRICS = ("gradient_histogram",)  # of groups whose other metrics are small


def evenly_spaced_steps(count: int, *, steps: int) -> list[int]:
    """Return ``count`` steps from the first to the last of a run, or all where there are fewer."""
    if steps <= count:
        return list(range(steps))
    return [round(number * (steps - 1) / (count - 1)) for number in range(count)]


def thinned(count: int, *, steps: int) -> dict[str, int | Schedule]:
    """Return the probe's schedules: ``count`` records of every metric, the large ones at the first, middle and last.

    Args:
        count: Records, 3 or more.
        steps: Optimizer steps of the run.
    """
    chosen = evenly_spaced_steps(count, steps=steps)
    few = at([chosen[0], chosen[len(chosen) // 2], chosen[-1]])
    schedules: dict[str, int | Schedule] = {metric.group: at(chosen) for metric in METRICS.values()}
    present = {metric.group for metric in METRICS.values()} | set(METRICS)
    return schedules | {name: few for name in (*LARGE, *LARGE_METRICS) if name in present}


class _Logger(Protocol):
    epoch: int | None

    def log(self, *, split: str = "train", **scalars: Any) -> None: ...


class ThinnedLog:
    """A probe that is told every step's loss, and keeps those of the recorded steps.

    Args:
        probe: The probe.
        kept: Steps whose rows are kept.
        start: The step that the next row is of.
    """

    def __init__(self, probe: _Logger, *, kept: list[int], start: int) -> None:
        self._probe, self._kept, self._step = probe, frozenset(kept), start

    @property
    def epoch(self) -> int | None:
        """The probe's epoch."""
        return self._probe.epoch

    @epoch.setter
    def epoch(self, epoch: int | None) -> None:
        self._probe.epoch = epoch

    def log(self, *, split: str = "train", **scalars: Any) -> None:
        """Hand on a step's row if it is kept."""
        if self._step in self._kept:
            self._probe.log(split=split, **scalars)
        self._step += 1
