"""An observation: the tensors of one step. Each source is read at most once, however many metrics need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from probes.model.layer import Layer
from probes.model.parameters import Parameter


class Reading(NamedTuple):
    """The tensors of one source.

    Attributes:
        indices: The layers (or parameters) that have such a tensor at this step, by index.
        tensors: A list with one entry a layer, or one tensor with a row for each layer.
    """

    indices: list[int]
    tensors: Any


class Observation:
    """The layers at one step, from the last backward pass until the optimizer has moved the weights.

    Attributes:
        step: Optimizer steps finished before.
        layers: By index, the layers whose parameters are about to be updated, and those that no optimizer updates.
        parameters: By index, the parameters that are about to be updated.
    """

    def __init__(
        self,
        step: int,
        layers: Mapping[int, Layer],
        sources: Mapping[str, Source],
        parameters: Mapping[int, Parameter] | None = None,
    ) -> None:
        """Prepare to look; nothing is read yet.

        Args:
            step: The step.
            layers: The layers, by index.
            sources: How each kind of tensor is read, by name. A source may read others.
            parameters: The parameters, by index.
        """
        self.step = step
        self.layers = layers
        self.parameters = parameters or {}
        self._sources = sources
        self._readings: dict[str, Reading] = {}

    def read(self, source: str) -> Reading:
        """Return the tensors of a source; a later call returns the same ones."""
        if source not in self._readings:
            self._readings[source] = self._sources[source](self)
        return self._readings[source]


Source = Callable[[Observation], Reading]
