"""The tensors of one step, each read at most once, whatever number of metrics ask for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probes.layers import Layer, bias_parameter, effective_weight, raw_parameter
from probes.matrix import kernel_slices, unfolded
from probes.metrics.histogram import exponent_histogram
from probes.metrics.singular_values import singular_values


class Reading(NamedTuple):
    """What a metric is given: the indices of the layers that have such a tensor at this step, and the tensors."""

    indices: list[int]
    tensors: list[Any]


class Observation:
    """One look at the model, between the last backward and the optimizer's update."""

    def __init__(self, layers: Sequence[Layer], *, gradient_scale: Tensor | None = None) -> None:
        """Prepare to look at the given layers; nothing is read yet.

        Args:
            layers: The layers whose parameters are about to be updated, and those that no optimizer updates.
            gradient_scale: What the gradients were multiplied by and the optimizer will divide by (fused optimizers
                under a GradScaler), or None.
        """
        self.layers = layers
        self.gradient_scale = gradient_scale
        self._readings: dict[str, Reading] = {}

    def read(self, source: str) -> Reading:
        """Return the tensors of one source; a later call returns the same ones."""
        if source not in self._readings:
            self._readings[source] = SOURCES[source](self)
        return self._readings[source]


def _gather(layers: Collection[Layer], read: Callable[[Layer], Tensor | None]) -> Reading:
    indices, tensors = [], []
    for layer in layers:
        tensor = read(layer)
        if tensor is not None:
            indices.append(layer.index)
            tensors.append(_plain(tensor))
    return Reading(indices, tensors)


def _plain(tensor: Tensor) -> Tensor:
    """Return a dense tensor of at least float32 on which every metric can compute."""
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _weights(observation: Observation) -> Reading:
    return _gather([layer for layer in observation.layers if layer.weight is not None], effective_weight)


def _raw_weights(observation: Observation) -> Reading:
    return _gather([layer for layer in observation.layers if layer.parametrized], _parameter_values)


def _biases(observation: Observation) -> Reading:
    return _gather(observation.layers, bias_parameter)


def _gradients(observation: Observation) -> Reading:
    reading = _gather(observation.layers, _gradient)
    if observation.gradient_scale is None:
        return reading
    return Reading(reading.indices, [gradient / observation.gradient_scale for gradient in reading.tensors])


def _gradient(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None or parameter.grad is None else parameter.grad.detach()


def _parameter_values(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None else parameter.detach()


def _matrices(observation: Observation) -> Reading:
    weights = observation.read("weight")
    layers = {layer.index: layer for layer in observation.layers}
    kept = [(i, w) for i, w in zip(*weights, strict=True) if w.ndim >= 2 and w.numel()]
    return Reading([i for i, _ in kept], [unfolded(w, transposed=layers[i].transposed) for i, w in kept])


def _kernel_slices(observation: Observation) -> Reading:
    weights = observation.read("weight")
    kept = [(i, w) for i, w in zip(*weights, strict=True) if w.ndim >= 3 and w.numel()]
    return Reading([i for i, _ in kept], [kernel_slices(w) for i, w in kept])


def _derived(source: str, compute: Callable[[list[Tensor]], list[Tensor]]) -> Callable[[Observation], Reading]:
    def read(observation: Observation) -> Reading:
        indices, tensors = observation.read(source)
        return Reading(indices, compute(tensors) if tensors else [])

    return read


SOURCES: dict[str, Callable[[Observation], Reading]] = {
    "weight": _weights,
    "raw_weight": _raw_weights,
    "bias": _biases,
    "gradient": _gradients,
    "matrix": _matrices,
    "kernel_slices": _kernel_slices,
    "singular_values": _derived("matrix", singular_values),
    "gradient_histogram": _derived("gradient", exponent_histogram),
    "weight_histogram": _derived("weight", exponent_histogram),
}
"""Every source a metric may read, by name: the effective weight, the parameter under a parametrization (where there is
one), the bias, the gradient of the parameter as the optimizer will use it, and what is computed from these once for
several metrics."""
