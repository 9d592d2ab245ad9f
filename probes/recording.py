"""Builds the record of one step: runs the metrics that are due, keeps what they hand themselves, unites the ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.gaps import Gaps
from probes.later import Later, may_wait
from probes.layers import Layer, raw_parameter
from probes.measurement import Carried, measure
from probes.metrics import Metric
from probes.metrics.histogram import SLOTS
from probes.metrics.singular_values import PADDING
from probes.observation import Observation
from probes.ranks import Ranks
from probes.records import Record, Result
from probes.schema import HISTOGRAMS, LAYERS, SPECTRA
from probes.set_aside import set_aside
from probes.transfer import arrival, to_host


class Recording:
    """The record of one step while it is being made."""

    def __init__(
        self,
        step: int,
        due: Sequence[Metric],
        *,
        layers: Sequence[Layer],
        carried: Carried,
        gaps: Gaps,
        room: int = 0,
    ) -> None:
        self.due = due
        self._record = Record(step)
        self._layers = layers
        self._carried = carried
        self._gaps = gaps
        self._room = room
        self.read_later: set[str] = set()

    @property
    def awaits_update(self) -> bool:
        """Whether a metric is due that compares the parameters before and after the update."""
        return any(metric.after_update for metric in self.due)

    def measure(self, observation: Observation, *, after_update: bool = False) -> None:
        """Run the due metrics on an observation: those of before the optimizer's update, or those of after it."""
        metrics = [metric for metric in self.due if metric.after_update == after_update]
        later = self._later(metrics, observation)
        if later is not None:
            self._record.later.append(later)
            self.read_later.update(metric.reads for metric in later.metrics)
        at_once = [metric for metric in metrics if later is None or metric.name not in later.names]
        self._record.results += measure(at_once, observation, carried=self._carried, fail=self._fail)

    def _later(self, metrics: Sequence[Metric], observation: Observation) -> Later | None:
        """Set aside what metrics read that may wait; None if it cannot be, or cannot be read.

        What some metric reads at once is at hand for all.
        """
        at_once = {metric.reads for metric in metrics if not may_wait(metric)}
        waiting = [metric for metric in metrics if metric.reads not in at_once]
        room = self._room - self._record.copied
        if not waiting or room <= 0:
            return None
        try:
            aside = set_aside(observation, [metric.reads for metric in waiting], room=room)
        except Exception:  # it comes again where the metric reads it, and is reported there
            return None
        return None if aside is None else Later(self._record.step, waiting, aside)

    def _fail(self, metric: str, failure: Exception) -> None:
        self._gaps.fail(metric, failure, self._record.step)

    def finish(self, ranks: Ranks, *, epoch: int | None) -> Record | None:
        """Return the record of all ranks, on its way to the host; None on ranks that do not write."""
        results = self._record.results if ranks.count == 1 else self._united(ranks)
        if ranks.rank != 0:
            return None
        devices = {result.values.device for result in results}
        moved = [
            r if r.values.device.type == "cpu" else Result(r.metric, r.indices, to_host(r.values)) for r in results
        ]
        events = [arrival(device) for device in devices]
        ready = [event for event in events if event is not None]
        return Record(self._record.step, epoch, moved, ready, list(self._record.later))

    def _united(self, ranks: Ranks) -> list[Result]:
        """Add up the ranks' results: dense over all layers, with a mark where there is one."""
        parts: list[Tensor] = []
        for metric in self.due:
            dense = torch.zeros(len(self._layers), self._width(metric) + 1, dtype=torch.float64, device=ranks.device)
            for result in self._record.results:
                if result.metric is metric and (metric.reducer is None or ranks.rank == 0):
                    dense[result.indices, :-1] += _rows(result, self._width(metric)).to(ranks.device)
                    dense[result.indices, -1] = 1
            parts.append(dense)
        united = [_sparse(metric, dense.cpu()) for metric, dense in zip(self.due, ranks.add(parts), strict=True)]
        return [result for result in united if result.indices]

    def _width(self, metric: Metric) -> int:
        if metric.table == LAYERS:
            return len(metric.columns)
        if metric.table == SPECTRA:
            shapes = [p.shape for p in map(raw_parameter, self._layers) if p is not None and p.ndim >= 2]
            return max((max(shape[:2]) for shape in shapes), default=0)
        return SLOTS + 1


def _rows(result: Result, width: int) -> Tensor:
    """Return a finished result with a row a layer."""
    values = torch.from_numpy(result.finish()).double()
    rows = values if result.metric.table == HISTOGRAMS else values.mT
    return F.pad(rows, (0, width - rows.shape[1]), value=PADDING)


def _sparse(metric: Metric, dense: Tensor) -> Result:
    indices = dense[:, -1].nonzero().squeeze(1)
    rows = dense[indices, :-1]
    values = rows.long() if metric.table == HISTOGRAMS else rows.mT
    return Result(metric, indices.tolist(), values, finished=True)
