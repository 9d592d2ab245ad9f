"""Builds the record of one step: runs the metrics that are due, keeps what they hand themselves, unites the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.gaps import Gaps
from probes.layers import Layer, raw_parameter
from probes.metrics import Metric
from probes.metrics.histogram import SLOTS
from probes.metrics.singular_values import PADDING
from probes.observation import Observation, Reading
from probes.ranks import Ranks
from probes.records import Record, Result
from probes.schema import HISTOGRAMS, LAYERS, SPECTRA
from probes.transfer import arrival, to_host

Carried = dict[str, dict[int, Tensor]]


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
    ) -> None:
        self.due = due
        self._record = Record(step)
        self._layers = layers
        self._carried = carried
        self._gaps = gaps

    @property
    def awaits_update(self) -> bool:
        """Whether a metric is due that compares the parameters before and after the update."""
        return any(metric.after_update for metric in self.due)

    def measure(self, observation: Observation, *, after_update: bool = False) -> None:
        """Run the due metrics on an observation: those of before the optimizer's update, or those of after it."""
        together: dict[Any, list[tuple[Metric, Reading]]] = {}
        with torch.no_grad():
            for metric in self.due:
                if metric.after_update == after_update and (reading := self._read(metric, observation)) is not None:
                    alone = metric.carries or metric.table != LAYERS
                    together.setdefault(metric.name if alone else metric.compute, []).append((metric, reading))
            for group in together.values():
                self._compute(group)

    def _read(self, metric: Metric, observation: Observation) -> Reading | None:
        try:
            reading = observation.read(metric.reads)
            return reading if len(reading.tensors) else None
        except Exception as failure:
            self._gaps.fail(metric.name, failure, self._record.step)
            return None

    def _compute(self, group: list[tuple[Metric, Reading]]) -> None:
        """Call the function that some metrics share, for all of them at once; singly if that fails."""
        try:
            results = _shared(group) if len(group) > 1 else [self._single(*group[0])]
            self._record.results += results
        except Exception as failure:
            if len(group) == 1:
                self._gaps.fail(group[0][0].name, failure, self._record.step)
            else:
                for alone in group:
                    self._compute([alone])

    def _single(self, metric: Metric, reading: Reading) -> Result:
        if not metric.carries:
            return _result(metric, reading.indices, metric.compute(reading.tensors))
        kept = self._carried.setdefault(metric.name, {})
        values, carried = metric.compute(reading.tensors, [kept.get(index) for index in reading.indices])
        kept.update(zip(reading.indices, carried, strict=True))
        return _result(metric, reading.indices, values)

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
        return Record(self._record.step, epoch, moved, ready)

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


def _shared(group: list[tuple[Metric, Reading]]) -> list[Result]:
    values = group[0][0].compute([tensor for _, reading in group for tensor in reading.tensors])
    results, first = [], 0
    for metric, reading in group:
        last = first + len(reading.indices)
        results.append(_result(metric, reading.indices, values[..., first:last]))
        first = last
    return results


def _result(metric: Metric, indices: list[int], values: Tensor) -> Result:
    """Return the rows that the metric has columns for."""
    own = metric.table == LAYERS and metric.finish is None
    return Result(metric, indices, values[: len(metric.columns)] if own else values)


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
