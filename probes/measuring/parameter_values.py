"""The sources that read every parameter by itself, regardless of its layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source, read_each
from probes.measuring.sources import real_values
from probes.model.layer import raw_parameter
from probes.model.parameters import Parameter
from probes.ranks import Ranks


def parameter_value_sources(ranks: Ranks, *, gradient_scale: Tensor | None = None) -> dict[str, Source]:
    """Return the sources ``parameter`` and ``parameter_gradient`` of the parameters that are trained at this step.

    A tensor that has already been read for a layer is the same object here, so that metrics compute it once.

    Args:
        ranks: Which parameters this process measures.
        gradient_scale: The factor on the gradients that the optimizer will divide by.
    """

    def gradient(parameter: Tensor) -> Tensor | None:
        if parameter.grad is None:
            return None
        return parameter.grad.detach() if gradient_scale is None else parameter.grad.detach() / gradient_scale

    return {
        "parameter": _each(Tensor.detach, "weight", ranks),
        "parameter_gradient": _each(gradient, "gradient", ranks),
    }


def _each(read: Callable[[Tensor], Tensor | None], of_layers: str, ranks: Ranks) -> Source:
    def source(observation: Observation) -> Reading:
        known = _read_for_layers(of_layers, observation) if ranks.count == 1 else {}

        def of(index: int, parameter: Parameter) -> Tensor | None:
            value = parameter.value
            if value is None or not value.requires_grad:
                return None
            tensor = known.get(id(value))
            if tensor is None and (tensor := read(value)) is not None:
                if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
                    tensor = tensor.full_tensor()  # all ranks take part, whichever rank keeps the result
                tensor = real_values(tensor)
            return tensor if ranks.owns(index) else None

        return read_each(observation.parameters, of)

    return source


def _read_for_layers(source: str, observation: Observation) -> dict[int, Tensor]:
    """Return the tensors that are read for layers, by parameter.

    Parametrized weights are left out: they are computed.
    """
    found = {}
    for index, tensor in observation.read(source).by_layer().items():
        layer = observation.layers[index]
        if source == "gradient" or not layer.parametrized:
            found[id(raw_parameter(layer))] = tensor
    return found
