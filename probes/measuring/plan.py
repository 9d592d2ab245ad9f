"""The plan: which metrics are recorded at which steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from probes import schema
from probes.measuring.pricing import LEAST_INTERVAL
from probes.metrics import METRICS, OF_CALLS, Metric
from probes.metrics.channels import PROBE_BATCH
from probes.schedule import Schedule, as_schedule, every, times_due

EVERY = 100

Cadence = int | Schedule | Mapping[str, int | Schedule]


class Plan:
    """The chosen metrics and the schedule of each.

    Attributes:
        spectra_interval: The steps between two records, if spectra may cost only a share of training
            (:mod:`probes.measuring.pricing`). None if the caller has asked for all spectra.
        passes_interval: The steps between two records, likewise for passes of the probe batch.
    """

    def __init__(
        self,
        metrics: Sequence[str | Metric] | None = None,
        cadence: Cadence = EVERY,
        *,
        probe_batch: bool = False,
    ) -> None:
        """Choose metrics and schedules.

        Args:
            metrics: Names of metrics or groups, or the user's own metrics; None takes all of ``METRICS``.
            cadence: A whole number, a schedule or a mapping. A whole number ``n`` records every ``n`` steps. Large
                metrics are then recorded at every ``every_nth_record``-th record, and expensive metrics at least
                ``min_steps_between`` steps apart. From ``n = 10`` on, the spectra of large matrices take turns. A
                schedule is followed by all metrics. A mapping from metric or group to a number or schedule is followed
                exactly by these metrics. All other metrics are recorded as under ``every=100``.
            probe_batch: Whether there is a batch, from which ``channels`` are recorded.

        Raises:
            ValueError: A metric or group is unknown, a metric needs a batch that was not passed, two metrics fill the
                same column, or a step count is not positive.
        """
        self.metrics = tuple(_chosen(metrics, probe_batch=probe_batch))
        _check_columns(self.metrics)
        asked = _asked(self.metrics, metrics, cadence)
        self.asks_for_gradients_of_outputs = any(m.reducer and m.reducer.of == "output_gradient" for m in asked)
        self._schedules = list(_schedules(self.metrics, cadence))
        self._every = cadence if isinstance(cadence, int) else 1  # no schedule is due between multiples of it
        named = isinstance(cadence, Mapping) and any(n in cadence for n in ("singular_values", "spectra", "spectrum"))
        interval = cadence if isinstance(cadence, int) else EVERY
        self.spectra_interval = None if callable(cadence) or named or interval < LEAST_INTERVAL else interval
        exactly = callable(cadence) or (isinstance(cadence, Mapping) and PROBE_BATCH.name in cadence)
        self.passes_interval = None if exactly else interval

    def due(self, step: int) -> list[Metric]:
        """Return the metrics to record at a step."""
        return [] if step % self._every else [metric for metric, schedule in self._schedules if schedule(step)]

    def times_due(self, metric: Metric, steps: range) -> int | None:
        """Return at how many of some steps a metric is recorded; None if the user's own function decides."""
        return next(times_due(schedule, steps) for one, schedule in self._schedules if one is metric)


def _chosen(metrics: Sequence[str | Metric] | None, *, probe_batch: bool) -> list[Metric]:
    known = [*METRICS.values(), *OF_CALLS, *([PROBE_BATCH] if probe_batch else [])]
    if metrics is None:
        return known
    chosen: dict[str, Metric] = {}
    for entry in [metrics] if isinstance(metrics, (str, Metric)) else metrics:
        if not isinstance(entry, (str, Metric)):
            raise ValueError(f"metrics: {entry!r} is neither a name nor a metric: make one with probes.metrics.metric.")
        for metric in [entry] if isinstance(entry, Metric) else _named(entry, known, "metrics"):
            chosen[metric.name] = metric
    return list(chosen.values())


def _asked(chosen: Sequence[Metric], metrics: Sequence[str | Metric] | None, cadence: Cadence) -> tuple[Metric, ...]:
    """Return the metrics that the caller named, by metric or by group."""
    words = cadence if isinstance(cadence, Mapping) else ()
    return tuple(m for m in chosen if metrics is not None or m.name in words or m.group in words)


def _named(name: str, among: Iterable[Metric], argument: str) -> list[Metric]:
    among = list(among)
    found = [metric for metric in among if name in (metric.name, metric.group)]
    if not found and name == PROBE_BATCH.name:
        raise ValueError(f"{argument}: {name!r} are recorded from a batch: give Probe(..., probe_batch=x).")
    if not found:
        groups = ", ".join(dict.fromkeys(metric.group for metric in among))
        names = ", ".join(metric.name for metric in among)
        raise ValueError(f"{argument}: unknown metric or group {name!r}; groups are {groups}; metrics are {names}.")
    return found


def _check_columns(metrics: Sequence[Metric]) -> None:
    tables = schema.DENSE_TABLES
    owner: dict[tuple[str, str], tuple[str, schema.Column | None]] = {
        (table, name): ("the key", None)
        for table in tables
        for name in (schema.RUN, *(k.name for k in schema.KEYS[table]))
    }
    for metric in metrics:
        for column in metric.columns:
            other, same = owner.setdefault((metric.table, column.name), (metric.name, column))
            if same is not column:
                raise ValueError(f"metrics {other!r} and {metric.name!r} both fill column {column.name!r}: rename one.")


def _schedules(metrics: Sequence[Metric], cadence: Cadence) -> Iterable[tuple[Metric, Schedule]]:
    if callable(cadence):
        return [(metric, cadence) for metric in metrics]
    own: dict[str, Schedule] = {}
    if isinstance(cadence, Mapping):
        for name, value in cadence.items():
            own |= {metric.name: as_schedule(value) for metric in _named(name, metrics, "every")}
        cadence = EVERY
    every(cadence)  # refuses an invalid step count, even if a mapping names every metric
    return [(metric, own.get(metric.name) or every(cadence * _records_between(metric, cadence))) for metric in metrics]


def _records_between(metric: Metric, cadence: int) -> int:
    return max(metric.every_nth_record, math.ceil(metric.min_steps_between / cadence))
