"""The record of one set of weights: of a model, or of a checkpoint, a few layers at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from probes.checkpoints.checkpoint_file import StoredTensors
from probes.checkpoints.hollow_model import HollowModel
from probes.checkpoints.stored_weights import stored_sources
from probes.measuring.measurement import measure
from probes.measuring.observation import Observation, Source
from probes.measuring.parameter_values import parameter_value_sources
from probes.measuring.plan import Plan
from probes.measuring.result import Result
from probes.measuring.sources import DERIVED, parameter_sources
from probes.metrics import METRICS, Metric
from probes.metrics.flat import batches
from probes.model.layer import Layer, raw_parameter
from probes.model.parameters import Parameter, parameters_of
from probes.model.selection import Selection
from probes.ranks import Ranks
from probes.recording.record import Record
from probes.recording.tables.arrow_tables import Tables
from probes.schema import PARAMETERS

ENTRIES_AT_ONCE = 1 << 23  # entries of weights, 32 MB in float32, that are measured together and then released

_OF_WEIGHTS = {"weight", "raw_weight", "bias", "effective_weight", "parameter", *DERIVED}
_OF_TRAINING = {
    *("update", "step_and_gradient", "unsolved_matrices"),  # these do not follow from weights alone
    *(source for source in DERIVED if source.startswith(("gradient_", "update_"))),
}

_One = TypeVar("_One", Layer, Parameter)


def weight_metrics(metrics: Sequence[str | Metric] | None) -> list[Metric]:
    """Return the metrics that read only weights.

    Raises:
        ValueError: A metric or group is unknown, or reads sources that only a training has.
    """
    chosen = Plan(metrics).metrics
    of_weights = [m for m in chosen if m.reducer is None and m.reads in _OF_WEIGHTS - _OF_TRAINING]
    if not of_weights:
        known = ", ".join(m.name for m in weight_metrics(list(METRICS)))
        raise ValueError(f"metrics={metrics!r}: no metric of weights is among them; those are {known}.")
    return of_weights


@dataclass(frozen=True)
class Weights:
    """One set of weights to measure.

    Attributes:
        layers: The layers.
        parameters: The parameters.
        sources: Returns the sources of their tensors, for one observation.
        step: Optimizer steps finished; None: unknown.
        epoch: The epoch; None: unknown.
    """

    layers: Sequence[Layer]
    parameters: Sequence[Parameter]
    sources: Callable[[], Mapping[str, Source]]
    step: int | None = None
    epoch: int | None = None

    @staticmethod
    def of_model(selection: Selection, *, step: int | None = None, epoch: int | None = None) -> Weights:
        """Return the weights of a model, read as a probe reads them."""
        alone = Ranks(distributed=False)
        sources = {**parameter_sources(alone), **parameter_value_sources(alone), **DERIVED}
        return Weights(selection.layers, parameters_of(selection.root), lambda: sources, step, epoch)

    @staticmethod
    def of_file(selection: Selection, stored: StoredTensors, model: HollowModel) -> Weights:
        """Return the weights of a state dict."""
        parameters = parameters_of(selection.root)
        return Weights(selection.layers, parameters, lambda: stored_sources(stored, model), stored.step, stored.epoch)


@dataclass
class Missing:
    """The numbers that could not be computed.

    Attributes:
        entries: The metric, the reason and the layer of each missing number.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)

    def note(self, what: str, failure: Exception, step: int, /, **place: Any) -> None:
        """Note a failure of one metric, and warn of it the first time."""
        why = f"{type(failure).__name__}: {failure}"
        if not any(entry["why"] == why for entry in self.entries):
            where = "".join(f" of {name} {value!r}" for name, value in place.items())
            warnings.warn(f"{what}{where} is null: {why}", RuntimeWarning, stacklevel=2)
        self.entries.append({"what": what, "why": why, "first_step": step, **place})


def measure_weights(
    weights: Weights, metrics: Sequence[Metric], missing: Missing
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the name of each table and its rows. An unknown step is 0 in them."""
    step = weights.step or 0
    record = Record(step, weights.epoch)
    of_layers = [metric for metric in metrics if metric.table != PARAMETERS]
    of_parameters = [metric for metric in metrics if metric.table == PARAMETERS]
    for layers in _in_parts(weights.layers, _entries_of_layer):
        observation = Observation(step, {layer.index: layer for layer in layers}, weights.sources())
        record.results += _measured(of_layers, observation, missing)
    for parameters in _in_parts(weights.parameters, _entries_of_parameter):
        those = {one.index: one for one in parameters}
        record.results += _measured(of_parameters, Observation(step, {}, weights.sources(), those), missing)
    return Tables(weights.layers, metrics, weights.parameters).batches([record])


def _measured(metrics: Sequence[Metric], observation: Observation, missing: Missing) -> list[Result]:
    return measure(metrics, [observation], state={}, fail=missing.note)


def _in_parts(ones: Sequence[_One], entries: Callable[[_One], int]) -> Iterator[Sequence[_One]]:
    yield from (ones[first:last] for first, last in batches([entries(one) for one in ones], ENTRIES_AT_ONCE))


def _entries_of_layer(layer: Layer) -> int:
    parameter = raw_parameter(layer)
    return 0 if parameter is None else parameter.numel()


def _entries_of_parameter(parameter: Parameter) -> int:
    return 0 if parameter.value is None else parameter.value.numel()
