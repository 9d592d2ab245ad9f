"""The sources that follow from the parameters of a layer, and those that follow from another source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source
from probes.metrics import Metric
from probes.metrics.histogram import exponent_histograms
from probes.metrics.matrix_views import kernel_slices, unfolded
from probes.metrics.singular_values import singular_values
from probes.model.layer import Layer, bias_parameter, effective_weight, raw_parameter
from probes.ranks import Ranks


def parameter_sources(ranks: Ranks, *, gradient_scale: Tensor | None = None) -> dict[str, Source]:
    """Return the sources that read parameters and their gradients.

    ``weight`` is the effective weight, ``raw_weight`` the parameter under a parametrization (where there is one),
    ``gradient`` the gradient as the optimizer will use it. ``before`` copies the trained parameters, and is to be read
    before the update; ``after`` reads them after it.

    Args:
        ranks: Which layers this process measures.
        gradient_scale: The factor on the gradients that the optimizer will divide by (a fused one under a GradScaler).
    """

    def of(read: Callable[[Layer], Tensor | None]) -> Source:
        return lambda observation: _read(observation, read, ranks)

    return {
        "weight": of(_effective_weight),
        "raw_weight": of(_parameter_under_parametrization),
        "bias": of(bias_parameter),
        "gradient": _unscaled(of(_gradient), gradient_scale),
        "before": of(_copy_of_trained_parameter),
        "after": of(_trained_parameter),
    }


def _read(observation: Observation, read: Callable[[Layer], Tensor | None], ranks: Ranks) -> Reading:
    """Read one tensor of each layer. All ranks take part in the gathering of shards, the owner keeps the result."""
    indices, tensors = [], []
    for index, layer in observation.layers.items():
        tensor = read(layer)
        if tensor is None:
            continue
        if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()
        if ranks.owns(index):
            indices.append(index)
            tensors.append(plain(tensor))
    return Reading(indices, tensors)


def plain(tensor: Tensor) -> Tensor:
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


def _unscaled(source: Source, scale: Tensor | None) -> Source:
    def read(observation: Observation) -> Reading:
        indices, gradients = source(observation)
        return Reading(indices, [gradient / scale for gradient in gradients])

    return source if scale is None else read


def _matrices(observation: Observation) -> Reading:
    indices, weights = _with_dimensions(2, observation)
    transposed = [observation.layers[index].transposed for index in indices]
    return Reading(indices, [unfolded(w, transposed=t) for w, t in zip(weights, transposed, strict=True)])


def _kernel_slices(observation: Observation) -> Reading:
    indices, weights = _with_dimensions(3, observation)
    return Reading(indices, [kernel_slices(weight) for weight in weights])


def _with_dimensions(least: int, observation: Observation) -> Reading:
    """Return the weights with so many dimensions or more; embeddings are matrices too."""
    kept = [(i, w) for i, w in zip(*observation.read("weight"), strict=True) if w.ndim >= least and w.numel()]
    return Reading([index for index, _ in kept], [weight for _, weight in kept])


def _updates(observation: Observation) -> Reading:
    after = dict(zip(*observation.read("after"), strict=True))
    pairs = {i: (before, after[i]) for i, before in zip(*observation.read("before"), strict=True) if i in after}
    return Reading(list(pairs), list(pairs.values()))


def _computed(source: str, compute: Callable[[list[Tensor]], list[Tensor] | Tensor]) -> Source:
    def read(observation: Observation) -> Reading:
        indices, tensors = observation.read(source)
        return Reading(indices, compute(tensors) if tensors else [])

    return read


def _all_matrices(observation: Observation) -> Reading:
    return observation.read("matrix")


def _none(_: Observation) -> Reading:
    return Reading([], [])


def in_turns(solved: Collection[int]) -> dict[str, Source]:
    """Return the sources of the matrices whose singular values are computed at a step, and of the others.

    Args:
        solved: The layers of the former.
    """

    def of(*, wanted: bool) -> Source:
        def read(observation: Observation) -> Reading:
            kept = [pair for pair in zip(*observation.read("matrix"), strict=True) if (pair[0] in solved) == wanted]
            return Reading([index for index, _ in kept], [matrix for _, matrix in kept])

        return read

    return {"solved_matrix": of(wanted=True), "unsolved_matrix": of(wanted=False)}


DERIVED: Mapping[str, Source] = {
    "matrix": _matrices,
    "kernel_slices": _kernel_slices,
    "solved_matrix": _all_matrices,
    "unsolved_matrix": _none,
    "singular_values": _computed("solved_matrix", singular_values),
    "gradient_histogram": _computed("gradient", exponent_histograms),
    "weight_histogram": _computed("weight", exponent_histograms),
    "update": _updates,
}
"""Sources that follow from other sources, computed once for all metrics that read them."""

COMPUTED_FROM = {"singular_values": "solved_matrix", "gradient_histogram": "gradient", "weight_histogram": "weight"}
"""The one source that a computed source reads: a copy of it is all that a deferred metric needs."""


def check_sources(metrics: Sequence[Metric], offered: Collection[str]) -> None:
    """Refuse metrics that read a source that nobody offers.

    Raises:
        ValueError: A metric's ``reads`` is no source; the message lists those there are.
    """
    for metric in metrics:
        if metric.reducer is None and metric.reads not in offered:
            raise ValueError(f"metric {metric.name!r} reads {metric.reads!r}: expected one of {', '.join(offered)}.")
