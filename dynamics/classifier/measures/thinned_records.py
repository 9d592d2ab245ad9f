"""A fixed number of records in a run of any length, so that the store of many runs stays small."""

from __future__ import annotations

from typing import Any, Protocol

from probes.metrics import METRICS
from probes.metrics.channels import PROBE_BATCH
from probes.schedule import Schedule, at

# Metrics and groups that are recorded three times, because they are large or change slowly, and those left out. Other
# metrics are recorded at all records.
AT_THREE = (
    *("spectra", "singular_values", "gradient_histogram", "operator_norm", "kernel_slices"),
    *("weight_moments", "bias_moments"),
)
LEFT_OUT = (
    *("power_iteration", "raw_weight_moments", "weight_histogram", "activation_histogram", "activation_range"),
    *("gradient_noise", "activation_gradients", "parameter_moments", "parameter_grad_moments", "group_lr"),
)


def evenly_spaced_steps(count: int, *, steps: int) -> list[int]:
    """Return ``count`` steps from the first to the last of a run, or all steps of a shorter run."""
    if steps <= count:
        return list(range(steps))
    return [round(number * (steps - 1) / (count - 1)) for number in range(count)]


def thinned(count: int, *, steps: int, probe_batch: bool) -> dict[str, int | Schedule]:
    """Return the schedule of each recorded metric, by its name: ``count`` steps, or three of these if it is expensive.

    Args:
        count: Records, 3 or more.
        steps: Optimizer steps of the run.
        probe_batch: Whether the probe has a batch, whose channels are then recorded too.
    """
    chosen = evenly_spaced_steps(count, steps=steps)
    often, seldom = at(chosen), at([chosen[0], chosen[len(chosen) // 2], chosen[-1]])
    known = [*METRICS.values(), *([PROBE_BATCH] if probe_batch else [])]
    kept = [metric for metric in known if not {metric.name, metric.group} & set(LEFT_OUT)]
    return {metric.name: seldom if {metric.name, metric.group} & set(AT_THREE) else often for metric in kept}


class _Logger(Protocol):
    epoch: int | None

    def log(self, *, split: str = "train", **scalars: Any) -> None: ...


class ThinnedLog:
    """A probe that receives every step's loss and keeps only those of the recorded steps.

    Args:
        probe: The probe.
        kept: Steps whose rows are kept.
        start: The step of the next row.
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
        """Pass a step's row to the probe if the row is kept."""
        if self._step in self._kept:
            self._probe.log(split=split, **scalars)
        self._step += 1
