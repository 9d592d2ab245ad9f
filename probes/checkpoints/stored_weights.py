"""The sources of a checkpoint: effective weights, parameters and biases, read from the file one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from probes.checkpoints.checkpoint_file import StoredTensors
from probes.checkpoints.hollow_model import HollowModel
from probes.measuring.observation import Observation, Reading, Source, read_each
from probes.measuring.sources import DERIVED, real_values
from probes.model.layer import Layer, parametrizations_of, raw_parameter
from probes.model.parameters import Parameter


def stored_sources(stored: StoredTensors, model: HollowModel) -> dict[str, Source]:
    """Return the sources that a state dict offers, for one observation.

    They keep the tensors that they have read.

    Under torch's spectral norm and weight norm, whether parametrizations or older hooks, the effective weight is the
    one that evaluation mode computes. Another parametrization is a failure of that layer.
    """
    read = cache(stored.read)

    def parameter(value: Tensor | None) -> Tensor | None:
        name = None if value is None else model.names.get(id(value))
        return None if name is None else read(name).detach()

    def effective(layer: Layer) -> Tensor | None:
        if not layer.parametrized:
            return parameter(raw_parameter(layer))
        return _effective_weight(layer, model.paths[id(layer.module)], stored, read)

    def raw(layer: Layer) -> Tensor | None:
        return parameter(raw_parameter(layer)) if layer.parametrized else None

    def bias(layer: Layer) -> Tensor | None:
        return parameter(layer.module._parameters.get(layer.bias)) if layer.bias else None

    def each_parameter(observation: Observation) -> Reading:
        def of(_: int, one: Parameter) -> Tensor | None:
            value = parameter(one.value)
            return None if value is None else real_values(value)

        return read_each(observation.parameters, of)

    return {
        **DERIVED,
        "weight": _of_layers(effective),
        "effective_weight": _of_layers(effective, real=False),
        "raw_weight": _of_layers(raw),
        "bias": _of_layers(bias),
        "parameter": each_parameter,
    }


def _of_layers(read: Callable[[Layer], Tensor | None], *, real: bool = True) -> Source:
    def source(observation: Observation) -> Reading:
        def of(_: int, layer: Layer) -> Tensor | None:
            tensor = read(layer)
            return None if tensor is None else real_values(tensor) if real else tensor

        return read_each(observation.layers, of)

    return source


def _effective_weight(layer: Layer, path: str, stored: StoredTensors, read: Callable[[str], Tensor]) -> Tensor:
    """Return the weight that a layer under a norm of torch uses in evaluation.

    Raises:
        ValueError: The layer is under another norm.
    """
    assert layer.weight is not None
    if layer.weight in parametrizations_of(layer.module):
        prefix = f"{path}.parametrizations.{layer.weight}." if path else f"parametrizations.{layer.weight}."
        names = {"original": "W", "0._u": "u", "0._v": "v", "original0": "g", "original1": "V"}
    else:
        prefix = f"{path}.{layer.weight}" if path else layer.weight
        names = {"_orig": "W", "_u": "u", "_v": "v" if f"{prefix}_orig" in stored.shapes else "V", "_g": "g"}
    there = [name.removeprefix(prefix) for name in stored.shapes if name.startswith(prefix) and name != prefix]
    parts = {names[name]: read(prefix + name) for name in there if name in names}
    if set(parts) == {"W", "u", "v"} and len(there) == 3:
        return _divided_by_sigma(parts["W"], parts["u"], parts["v"])
    if set(parts) == {"g", "V"} and len(there) == 2:
        return _with_length(parts["V"], parts["g"])
    raise ValueError(
        f"its weight is computed from {', '.join(there)}, by a parametrization that is not torch's: give the model too"
    )


def _divided_by_sigma(W: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return ``W / (u^H W v)``.

    The rows of W are the dimension of the kernel that has the length of u.
    """
    rows = W if len(u) == W.shape[0] else W.transpose(0, 1)
    sigma = torch.vdot(u, rows.flatten(1) @ v).real
    return W / sigma


def _with_length(V: Tensor, g: Tensor) -> Tensor:
    """Return ``g V / |V|``.

    The norm is taken over the dimensions that g does not have.
    """
    others = [place for place in range(V.ndim) if g.ndim == 0 or g.shape[place] == 1]
    return V * (g / torch.linalg.vector_norm(V, dim=others, keepdim=True))
