"""Builds the record of one step: computes the due metrics, keeps their state, combines the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.background.budget import Budget
from probes.background.snapshot import NoRoomError, Snapshot, take_snapshot
from probes.background.to_host import arrival, to_host_together
from probes.gaps import Gaps
from probes.measuring.changes import needed_before
from probes.measuring.measurement import State, measure
from probes.measuring.observation import Observation
from probes.measuring.result import Result
from probes.metrics import Metric
from probes.metrics.histogram import SLOTS
from probes.metrics.parameters import PARAMETER_GRADIENT_MOMENTS
from probes.metrics.singular_values import PADDING
from probes.model.layer import Layer, raw_parameter
from probes.ranks import Ranks
from probes.recording.gradient_norms import GradientNorms
from probes.recording.record import Record
from probes.recording.tables.dense_table import finished
from probes.schema import CHANNELS, DENSE_TABLES, HISTOGRAMS, PARAMETERS, SPECTRA, UNITS

_OF_ONE_RANK = (CHANNELS, UNITS)  # tables of the probe batch, and of the batches of rank 0


class StepInProgress:
    """The record of one step while it is being made.

    Attributes:
        due: The metrics to compute.
        gradient_norms: Takes the lengths of gradients before they are clipped.
        scalars: After :meth:`finish`: numbers for the step's row in table ``steps``.
    """

    def __init__(
        self,
        step: int,
        due: Sequence[Metric],
        *,
        layers: Sequence[Layer],
        parameters: int,
        state: State,
        gaps: Gaps,
        budget: Budget | None,
    ) -> None:
        """Begin a record.

        Args:
            step: The step.
            due: The metrics to compute.
            layers: All observed layers.
            parameters: Number of all parameters.
            state: The tensors that metrics keep from one record to the next.
            gaps: Failures are reported here.
            budget: The budget of metrics that are computed in the background; without it none are.
        """
        self.due = due
        self.gradient_norms = GradientNorms()
        self.scalars: dict[str, Tensor] = {}
        self._record = Record(step)
        self._layers, self._parameters = layers, parameters
        self._state = state
        self._gaps = gaps
        self._budget = budget

    def keep(self, observation: Observation) -> bool:
        """Read the sources that are needed after the update; return whether a metric is measured after it."""
        for source in sorted(needed_before(self.due)):
            observation.read(source)
        return any(metric.after_update for metric in self.due)

    def add(self, metrics: Sequence[Metric]) -> None:
        """Compute these metrics too, from the next observation on."""
        self.due = [*self.due, *(metric for metric in metrics if metric not in self.due)]

    def measure(self, observation: Observation, *, after_update: bool = False) -> None:
        """Compute the due metrics of an observation that are measured before the optimizer's update, or after it."""
        metrics = [metric for metric in self.due if metric.after_update == after_update]
        try:
            snapshot = self._snapshot(metrics, observation)
        except NoRoomError as failure:
            self._gaps.fail("singular values", failure, observation.step, raises=False)
            metrics = [metric for metric in metrics if not metric.deferrable]
        else:
            if snapshot is not None:
                self._record.snapshots.append(snapshot)
                metrics = [metric for metric in metrics if metric not in snapshot.metrics]
        self._record.results += measure(metrics, [observation], state=self._state, fail=self._gaps.fail)

    def _snapshot(self, metrics: Sequence[Metric], observation: Observation) -> Snapshot | None:
        try:
            return None if self._budget is None else take_snapshot(metrics, observation, self._budget)
        except NoRoomError:
            raise
        except Exception:  # the same error comes again when the metric reads the tensors, and is reported then
            return None

    def finish(self, ranks: Ranks, *, epoch: int | None) -> Record | None:
        """Return the record of all ranks, being copied to the host; None on ranks that do not write."""
        results = self._record.results if ranks.count == 1 else self._summed(ranks)
        if ranks.rank != 0:
            return None
        of_parameters = [result for result in results if result.metric.name == PARAMETER_GRADIENT_MOMENTS.name]
        self.scalars = self.gradient_norms.scalars(of_parameters)
        devices = {result.values.device for result in results}
        moved = [each for device in devices for each in _on_host([r for r in results if r.values.device == device])]
        events = [arrival(device) for device in devices]
        ready = [event for event in events if event is not None]
        return Record(self._record.step, epoch, moved, ready, self._record.snapshots)

    def _summed(self, ranks: Ranks) -> list[Result]:
        """Add up the ranks' results: dense over all layers, with a mark for each layer that has a result.

        Results that only one rank has stay as they are.
        """
        parts: list[Tensor] = []
        shared = [metric for metric in self.due if metric.table not in _OF_ONE_RANK]
        for metric in shared:
            rows = self._parameters if metric.table == PARAMETERS else len(self._layers)
            dense = torch.zeros(rows, self._width(metric) + 1, dtype=torch.float64, device=ranks.device)
            for result in self._record.results:
                if result.metric is metric and (metric.reducer is None or ranks.rank == 0):
                    dense[result.indices, :-1] += _rows(result, self._width(metric)).to(ranks.device)
                    dense[result.indices, -1] = 1
            parts.append(dense)
        sums = zip(shared, ranks.add(parts), strict=True)
        results = [_sparse(metric, self._record.step, dense.cpu()) for metric, dense in sums]
        own = [result for result in self._record.results if result.metric.table in _OF_ONE_RANK]
        return [result for result in results if result.indices] + own

    def _width(self, metric: Metric) -> int:
        if metric.table in DENSE_TABLES:
            return len(metric.columns)
        if metric.table == SPECTRA:
            shapes = [p.shape for p in map(raw_parameter, self._layers) if p is not None and p.ndim >= 2]
            return max((max(shape[:2]) for shape in shapes), default=0)
        return SLOTS + 1


def _on_host(results: list[Result]) -> list[Result]:
    """Return results of one device, being copied to the host."""
    if results[0].values.device.type == "cpu":
        return results
    copies = to_host_together([result.values for result in results])
    return [replace(result, values=copy) for result, copy in zip(results, copies, strict=True)]


def _rows(result: Result, width: int) -> Tensor:
    """Return a finished result with a row for each layer, ``(layers, width)``."""
    rows = torch.from_numpy(finished(result)).double().mT
    return F.pad(rows, (0, width - rows.shape[1]), value=PADDING)


def _sparse(metric: Metric, step: int, dense: Tensor) -> Result:
    """Return the result of the rows, ``(layers, width + 1)``, whose last entry marks a measured layer."""
    indices = dense[:, -1].nonzero().squeeze(1)
    values = dense[indices, :-1].mT
    whole = metric.table == HISTOGRAMS
    return Result(metric, step, indices.tolist(), values.long() if whole else values, finished=True)
