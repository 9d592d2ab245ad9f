"""An observation: the tensors of one step. Each source is read at most once, however many metrics need it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from probes.model.layer import Layer
from probes.model.parameters import Parameter
from probes.schema import LAYER, PARAMETER, PARAMETERS

NONE: Mapping[int, Exception] = MappingProxyType({})


class Reading(NamedTuple):
    """The tensors of one source.

    Attributes:
        indices: The layers (or parameters) that have such a tensor at this step, by index.
        tensors: A list with one entry for each layer, or one tensor with a row for each layer.
        failures: The layers whose tensor could not be read, and why.
    """

    indices: list[int]
    tensors: Any
    failures: Mapping[int, Exception] = NONE

    def by_layer(self) -> dict[int, Any]:
        """Return each layer's tensor, by the layer's index."""
        return dict(zip(self.indices, self.tensors, strict=True))

    def by_device(self) -> list[tuple[Any, Reading]]:
        """Return a reading for each device of the tensors, because one call takes tensors of one device."""
        if isinstance(self.tensors, Tensor):
            return [(self.tensors.device, self)] if self.indices else []
        devices = [_device(tensor) for tensor in self.tensors]
        if len(set(devices)) == 1:
            return [(devices[0], self)]
        parts: dict[Any, dict[int, Any]] = {}
        for device, (index, tensor) in zip(devices, self.by_layer().items(), strict=True):
            parts.setdefault(device, {})[index] = tensor
        return [(device, Reading(list(part), list(part.values()))) for device, part in parts.items()]


def _device(entry: Any) -> Any:
    """Return the device of a tensor, of the first of several tensors, or of another object with a ``device``."""
    return getattr(entry[0] if isinstance(entry, tuple) else entry, "device", None)


def read_each(
    given: Mapping[int, Any], read: Callable[[int, Any], Any], *, failures: Mapping[int, Exception] = NONE
) -> Reading:
    """Return a reading made layer by layer, so that only a layer that raises has no tensor.

    Args:
        given: The object from which each layer's tensor is read, by the layer's index.
        read: ``read(index, given) -> tensor``; None leaves the layer out.
        failures: The layers that have already failed.
    """
    found, failed = {}, dict(failures)
    for index, each in given.items():
        try:
            tensor = read(index, each)
        except Exception as failure:
            failed[index] = without_frames(failure)
        else:
            if tensor is not None:
                found[index] = tensor
    return Reading(list(found), list(found.values()), failed)


def without_frames(failure: Exception) -> Exception:
    """Return a caught exception with its traceback as a note: its frames would keep tensors alive."""
    failure.add_note("".join(traceback.format_tb(failure.__traceback__)))
    return failure.with_traceback(None)


class Observation:
    """The layers at one step, from the last backward pass until the optimizer has moved the weights.

    Attributes:
        step: Optimizer steps finished before.
        layers: The layers whose parameters are about to be updated, and the layers that no optimizer updates, by index.
        parameters: The parameters that are about to be updated, by index.
    """

    def __init__(
        self,
        step: int,
        layers: Mapping[int, Layer],
        sources: Mapping[str, Source],
        parameters: Mapping[int, Parameter] | None = None,
    ) -> None:
        """Prepare the observation.

        Nothing is read yet.

        Args:
            step: The step.
            layers: The layers, by index.
            sources: The function that reads each kind of tensor, by name. A source may read other sources.
            parameters: The parameters, by index.
        """
        self.step = step
        self.layers = layers
        self.parameters = parameters or {}
        self._sources = sources
        self._readings: dict[str, Reading] = {}

    def place(self, table: str, index: int) -> dict[str, str]:
        """Return a layer's name by the key ``layer``, or in table ``parameters`` a parameter's by ``parameter``."""
        if table == PARAMETERS:
            return {PARAMETER: self.parameters[index].name}
        return {LAYER: self.layers[index].name}

    def trained(self) -> list[Tensor]:
        """Return the parameters that are not frozen."""
        values = (one.value for one in self.parameters.values())
        return [value for value in values if value is not None and value.requires_grad]

    def read(self, source: str) -> Reading:
        """Return the tensors of a source.

        A later call returns the same tensors.
        """
        if source not in self._readings:
            self._readings[source] = self._sources[source](self)
        return self._readings[source]


Source = Callable[[Observation], Reading]
