"""The sources that follow from the parameters of a layer, and the sources that follow from another source.

Each source reads layer by layer. If a layer's tensor cannot be read, only this layer fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from probes.measuring.changes import CHANGES, KINDS, turns
from probes.measuring.observation import Observation, Reading, Source, read_each
from probes.metrics import Metric
from probes.metrics.histogram import exponent_counts, exponent_histograms
from probes.metrics.matrix_views import kernel_slices, matrices
from probes.metrics.singular_values import stacked_spectra
from probes.model.layer import Layer, bias_parameter, effective_weight, raw_parameter
from probes.model.module_kinds import CONVOLUTIONS
from probes.model.packed import why_packed
from probes.ranks import Ranks


def parameter_sources(ranks: Ranks, *, gradient_scale: Tensor | None = None) -> dict[str, Source]:
    """Return the sources that read parameters and their gradients.

    ``weight`` is the effective weight, ``raw_weight`` the parameter under a parametrization (where there is one),
    ``gradient`` the gradient as the optimizer will use it. ``before`` copies the trained parameters and must be read
    before the update. ``after`` reads them after it. Complex numbers are pairs of real ones, except in
    ``effective_weight``.

    Args:
        ranks: Which layers this process measures.
        gradient_scale: The factor on the gradients by which the optimizer will divide (a fused optimizer under a
            GradScaler).
    """

    def of(read: Callable[[Layer], Tensor | None], finish: Callable[[Tensor], Tensor] = _real) -> Source:
        return lambda observation: read_tensors(observation, read, ranks, finish=finish)

    return {
        "weight": _weights,
        "raw_weight": of(_parameter_under_parametrization),
        "bias": of(bias_parameter),
        "gradient": of(_gradient, lambda gradient: _unscaled(_real(gradient), gradient_scale)),
        "before": of(_copy_of_trained_parameter),
        "after": of(_trained_parameter),
        "effective_weight": of(_effective_weight, lambda weight: weight),
    }


def read_tensors(
    observation: Observation,
    read: Callable[[Layer], Tensor | None],
    ranks: Ranks,
    *,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> Reading:
    """Read one tensor of each layer.

    All ranks take part in the gathering of shards. The owner keeps the result.

    Args:
        observation: The layers.
        read: Returns a layer's tensor; None leaves the layer out.
        ranks: Which layers this process measures.
        finish: Applied to the dense tensor, of at least single precision; None makes complex numbers pairs.
    """

    def whole(index: int, layer: Layer) -> Tensor | None:
        tensor = read(layer)
        if tensor is None:
            return None
        if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()
        return (finish or _real)(_dense(tensor)) if ranks.owns(index) else None

    return read_each(observation.layers, whole)


def _dense(tensor: Tensor) -> Tensor:
    """Return a dense tensor of at least single precision, real or complex.

    Raises:
        ValueError: The tensor has no values, or its values are not weights.
    """
    _check(tensor)
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        return tensor
    return tensor.to(torch.complex64) if tensor.is_complex() else tensor.float()


def _check(tensor: Tensor) -> None:
    if tensor.is_meta:
        raise ValueError("it is on device meta, where tensors have no values.")
    if tensor.is_nested:
        raise ValueError("it is a nested tensor, whose rows are of unlike length.")
    if (tensor.dtype is not torch.float32 or type(tensor) is not Tensor) and (why := why_packed(tensor)):
        raise ValueError(f"{why}.")


def _real(tensor: Tensor) -> Tensor:
    """Return a real view, on which every metric can compute: complex numbers as pairs."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def real_values(tensor: Tensor) -> Tensor:
    """Return a dense real tensor of at least single precision; complex numbers as pairs.

    Raises:
        ValueError: The tensor has no values, or its values are not weights.
    """
    return _real(_dense(tensor))


def _weights(observation: Observation) -> Reading:
    reading = observation.read("effective_weight")
    return reading._replace(tensors=[_real(weight) for weight in reading.tensors])


def _effective_weight(layer: Layer) -> Tensor | None:
    if layer.weight is None:
        return None
    parameter = layer.module._parameters.get(layer.weight)
    if parameter is not None and type(parameter) is not nn.Parameter:
        _check(parameter)  # a tensor subclass loses its information on the weight when it is detached
    return effective_weight(layer)


def _parameter_under_parametrization(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer) if layer.parametrized else None
    return None if parameter is None else parameter.detach()


def _trained_parameter(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None or parameter.grad is None else parameter.detach()


def _copy_of_trained_parameter(layer: Layer) -> Tensor | None:
    parameter = _trained_parameter(layer)
    return None if parameter is None else parameter.clone()


def _gradient(layer: Layer) -> Tensor | None:
    parameter = raw_parameter(layer)
    return None if parameter is None or parameter.grad is None else parameter.grad.detach()


def _unscaled(gradient: Tensor, scale: Tensor | None) -> Tensor:
    return gradient if scale is None else gradient / scale.to(gradient.device, non_blocking=True)


def _matrices(observation: Observation) -> Reading:
    """Return the matrices ``(E, out, in)`` of each weight that has matrices; embeddings are matrices too."""

    def read(index: int, weight: Tensor) -> Tensor | None:
        layer = observation.layers[index]
        if weight.ndim < 2 or not weight.numel():
            return None
        return matrices(weight, convolution=isinstance(layer.module, CONVOLUTIONS), transposed=layer.transposed)

    weights = observation.read("effective_weight")
    return read_each(weights.by_layer(), read, failures=weights.failures)


def _kernel_slices(observation: Observation) -> Reading:
    """Return the kernel slices of convolutions, and of other weights that have a kernel's four or more dimensions."""

    def read(index: int, weight: Tensor) -> Tensor | None:
        least = 3 if isinstance(observation.layers[index].module, CONVOLUTIONS) else 4
        return kernel_slices(weight) if weight.ndim >= least and weight.numel() else None

    weights = observation.read("effective_weight")
    return read_each(weights.by_layer(), read, failures=weights.failures)


def _single(source: str) -> Source:
    """Return the source of the layers that have a single matrix."""

    def read(observation: Observation) -> Reading:
        stacks = observation.read(source)
        return read_each(
            stacks.by_layer(), lambda _, stack: stack[0] if len(stack) == 1 else None, failures=stacks.failures
        )

    return read


def _computed(source: str, compute: Callable[[list[Tensor]], list[Tensor] | Tensor]) -> Source:
    """Return a source computed from another source, for all layers together, or layer by layer if that raises."""

    def together(reading: Reading) -> Reading:
        try:
            return reading._replace(tensors=compute(reading.tensors))
        except Exception:
            return read_each(reading.by_layer(), lambda _, tensor: compute([tensor])[0], failures=reading.failures)

    def read(observation: Observation) -> Reading:
        reading = observation.read(source)
        parts = [together(part) for _, part in reading.by_device()]
        if len(parts) == 1:
            return parts[0]._replace(failures={**reading.failures, **parts[0].failures})
        found = {index: tensor for part in parts for index, tensor in part.by_layer().items()}
        failures = [reading.failures, *(part.failures for part in parts)]
        return Reading(list(found), list(found.values()), {i: why for each in failures for i, why in each.items()})

    return read


def in_turns(solved: Collection[int]) -> dict[str, Source]:
    """Return two sources: the matrices whose singular values are computed at a step, and the other matrices.

    Args:
        solved: The layers whose singular values are computed.
    """
    return turns(solved)


DERIVED: Mapping[str, Source] = {
    "matrices": _matrices,
    "matrix": _single("matrices"),
    "kernel_slices": _kernel_slices,
    **CHANGES,
    **{f"{kind}spectra": _computed(f"{kind}solved_matrices", stacked_spectra) for kind in KINDS},
    "singular_values": _single("spectra"),
    "gradient_histogram": _computed("gradient", exponent_histograms),
    "weight_histogram": _computed("weight", exponent_counts),
}
"""Sources that follow from other sources, computed once for all metrics that read them."""

PRICED = {"singular_values", *(f"{kind}scaled_spectra" for kind in KINDS)}
"""The sources whose large matrices take turns.

The turns depend on costs that follow from the shapes of a pass.
"""

COMPUTED_FROM = {
    "spectra": "solved_matrices",
    "scaled_spectra": "solved_matrices",
    "singular_values": "solved_matrices",
    "gradient_histogram": "gradient",
    "weight_histogram": "weight",
}
"""The only source that each computed source reads.

A deferred metric needs only a copy of this source.
"""


def check_sources(metrics: Sequence[Metric], offered: Collection[str]) -> None:
    """Refuse metrics that read a source that nobody offers.

    Raises:
        ValueError: A metric's ``reads`` is no source. The message lists the valid names.
    """
    for metric in metrics:
        if metric.reducer is None and metric.reads not in offered:
            raise ValueError(f"metric {metric.name!r} reads {metric.reads!r}: expected one of {', '.join(offered)}.")
