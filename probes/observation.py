"""The tensors of one step, each read at most once, whatever number of metrics ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probes.activations import ActivationWatch
from probes.head_start import HeadStart
from probes.layers import Layer, bias_parameter, effective_weight, raw_parameter
from probes.matrix import kernel_slices, unfolded
from probes.metrics import Metric
from probes.metrics.histogram import exponent_histograms
from probes.metrics.operator_norm import Convolution
from probes.metrics.singular_values import singular_values
from probes.micro_batches import MicroBatchWatch
from probes.ranks import Ranks

CONVOLUTION_SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")


class Reading(NamedTuple):
    """What a metric is given: the indices of the layers that have such a tensor at this step, and the tensors."""

    indices: list[int]
    tensors: Any  # a list, or one tensor with a row for each layer


class Observation:
    """One look at some layers, from the last backward until the optimizer has moved the weights."""

    def __init__(
        self,
        layers: Mapping[int, Layer],
        *,
        ranks: Ranks,
        activations: ActivationWatch,
        micro_batches: MicroBatchWatch | None = None,
        head_start: HeadStart | None = None,
        gradient_scale: Tensor | None = None,
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        """Prepare to look; nothing is read yet.

        Args:
            layers: By index, the layers whose parameters are about to be updated, and those that no optimizer updates.
            ranks: Which of them this process measures.
            activations: What the forward hooks have collected.
            micro_batches: What the parameters' hooks have collected.
            head_start: What may have taken the singular values already.
            gradient_scale: What the gradients are multiplied by and the optimizer will divide by (fused optimizers
                under a GradScaler), or None.
            readings: What has been read before, by source.
        """
        self.layers = layers
        self.ranks = ranks
        self.activations = activations
        self.micro_batches = micro_batches
        self.head_start = head_start
        self.gradient_scale = gradient_scale
        self._readings = dict(readings or {})

    def read(self, source: str) -> Reading:
        """Return the tensors of one source; a later call returns the same ones."""
        if source not in self._readings:
            read = SOURCES.get(source)
            self._readings[source] = _activations(self, source) if read is None else read(self)
        return self._readings[source]

    def remember_parameters(self) -> None:
        """Copy the parameters that are about to be updated."""
        indices, parameters = _read(self, _trained_parameter)
        self._readings["before"] = Reading(indices, [parameter.clone() for parameter in parameters])


def _read(observation: Observation, read: Callable[[Layer], Tensor | None]) -> Reading:
    """Read one tensor of each layer. All ranks take part in the gathering of shards, the owner keeps the result."""
    indices, tensors = [], []
    owns = observation.ranks.owns
    for index, layer in observation.layers.items():
        tensor = read(layer)
        if tensor is None:
            continue
        if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()
        if owns(index):
            indices.append(index)
            tensors.append(_plain(tensor))
    return Reading(indices, tensors)


def _plain(tensor: Tensor) -> Tensor:
    """Return a dense real tensor of at least float32, on which every metric can compute."""
    if tensor.dtype is torch.float32 and tensor.layout is torch.strided:
        return tensor
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _effective_weight(layer: Layer) -> Tensor | None:
    return None if layer.weight is None else effective_weight(layer)


def _parameter(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None else parameter.detach()


def _parameter_under_parametrization(layer: Layer) -> Tensor | None:
    return _parameter(layer) if layer.parametrized else None


def _trained_parameter(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None or parameter.grad is None else parameter.detach()


def _gradient(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    gradient = None if parameter is None else parameter.grad
    return None if gradient is None else gradient.detach()


def _gradients(observation: Observation) -> Reading:
    indices, gradients = _read(observation, _gradient)
    scale = observation.gradient_scale
    return Reading(indices, gradients if scale is None else [gradient / scale for gradient in gradients])


def _matrices(observation: Observation) -> Reading:
    indices, weights = _at_least(2, observation)
    transposed = [observation.layers[index].transposed for index in indices]
    return Reading(indices, [unfolded(w, transposed=t) for w, t in zip(weights, transposed, strict=True)])


def _singular_values(observation: Observation) -> Reading:
    indices, matrices = observation.read("matrix")
    if observation.head_start is not None:
        return Reading(indices, observation.head_start.singular_values(indices, matrices))
    return Reading(indices, singular_values(matrices) if matrices else [])


def _kernel_slices(observation: Observation) -> Reading:
    indices, weights = _at_least(3, observation)
    return Reading(indices, [kernel_slices(weight) for weight in weights])


def _at_least(dimensions: int, observation: Observation) -> Reading:
    """Return the weights with so many dimensions; embeddings are matrices too."""
    kept = [(i, w) for i, w in zip(*observation.read("weight"), strict=True) if w.ndim >= dimensions and w.numel()]
    return Reading([index for index, _ in kept], [weight for _, weight in kept])


def _convolutions(observation: Observation) -> Reading:
    found = {}
    for index, weight in zip(*observation.read("weight"), strict=True):
        module, shapes = observation.layers[index].module, observation.activations.shapes.get(index)
        if isinstance(module, nn.modules.conv._ConvNd) and shapes:
            # A transposed convolution is the adjoint of the convolution of its output with the same kernel.
            given = shapes[1] if observation.layers[index].transposed else shapes[0]
            shape = given[-weight.ndim + 1 :]
            settings = {name: getattr(module, name) for name in CONVOLUTION_SETTINGS}
            found[index] = Convolution(weight, shape, **settings)
    return Reading(list(found), list(found.values()))


def _updates(observation: Observation) -> Reading:
    after = dict(zip(*observation.read("after"), strict=True))
    pairs = {i: (before, after[i]) for i, before in zip(*observation.read("before"), strict=True) if i in after}
    return Reading(list(pairs), list(pairs.values()))


def _micro_batches(observation: Observation) -> Reading:
    if observation.micro_batches is None:
        return Reading([], [])
    found = observation.micro_batches.take(dict(zip(*observation.read("gradient"), strict=True)))
    return Reading(list(found), list(found.values()))


def _activations(observation: Observation, source: str) -> Reading:
    """Merge the vectors of all passes and ranks; every rank gets those of all layers."""
    vectors = observation.activations.take(source, observation.ranks)
    kept = {index: vector for index, vector in vectors.items() if index in observation.layers}
    return Reading(list(kept), list(kept.values()))


def _derived(source: str, compute: Callable[[list[Tensor]], list[Tensor] | Tensor]) -> Callable[[Observation], Reading]:
    def read(observation: Observation) -> Reading:
        indices, tensors = observation.read(source)
        return Reading(indices, compute(tensors) if tensors else [])

    return read


SOURCES: dict[str, Callable[[Observation], Reading]] = {
    "weight": lambda observation: _read(observation, _effective_weight),
    "raw_weight": lambda observation: _read(observation, _parameter_under_parametrization),
    "bias": lambda observation: _read(observation, bias_parameter),
    "before": lambda _: Reading([], []),  # unless the parameters were remembered
    "after": lambda observation: _read(observation, _trained_parameter),
    "gradient": _gradients,
    "matrix": _matrices,
    "kernel_slices": _kernel_slices,
    "convolution": _convolutions,
    "update": _updates,
    "micro_batches": _micro_batches,
    "singular_values": _singular_values,
    "gradient_histogram": _derived("gradient", exponent_histograms),
    "weight_histogram": _derived("weight", exponent_histograms),
}
"""What a metric may read, by name: the effective weight, the parameter under a parametrization (where there is one),
the bias, the gradient of the parameter as the optimizer will use it, and what is computed from these once for several
metrics. Activations are read under the name of their reducer."""


MADE_OF: dict[str, tuple[str, ...]] = {
    **{source: (source,) for source in ("weight", "raw_weight", "bias", "gradient")},
    **dict.fromkeys(("matrix", "kernel_slices", "singular_values", "weight_histogram"), ("weight",)),
    "gradient_histogram": ("gradient",),
    "update": ("before", "after"),
}
"""The sources that follow from copies of some tensors, whenever one looks at these, and from which."""


def check_sources(metrics: Sequence[Metric]) -> None:
    """Refuse metrics that read what there is not.

    Raises:
        ValueError: A metric's ``reads`` is no source; the message lists those there are.
    """
    for metric in metrics:
        if metric.reducer is None and metric.reads not in SOURCES:
            raise ValueError(f"metric {metric.name!r} reads {metric.reads!r}: expected one of {', '.join(SOURCES)}.")
