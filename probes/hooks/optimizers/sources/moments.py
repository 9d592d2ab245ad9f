"""The moments that optimizers keep of each layer's gradient, read after a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source
from probes.measuring.sources import read_tensors
from probes.model.layer import Layer, raw_parameter
from probes.ranks import Ranks

FIRST, SECOND, BOTH = "first_moment", "second_moment", "moments"  # sources
_FIRST = ("exp_avg", "momentum_buffer")  # Adam and its variants, Lion; SGD with momentum, Muon, RMSprop
_SECOND = ("exp_avg_sq", "square_avg")  # Adam and its variants; RMSprop, Adadelta


def moment_sources(optimizers: Sequence[Any], ranks: Ranks) -> dict[str, Source]:
    """Return the sources of the moments of each layer's parameter, without bias correction.

    A layer is left out if its optimizer keeps no such moment. It is also left out if the moment has another form
    (quantised to 8 bits, or factored as in Adafactor) or belongs to a copy of the parameter (ZeRO). Shards are
    gathered.

    Args:
        optimizers: The optimizers that make the steps.
        ranks: Which layers this process measures.
    """

    def first(observation: Observation) -> Reading:
        return read_tensors(observation, _reader(optimizers, _FIRST), ranks)

    def second(observation: Observation) -> Reading:
        return read_tensors(observation, _reader(optimizers, _SECOND), ranks)

    return {FIRST: first, SECOND: second, BOTH: _pairs}


def _pairs(observation: Observation) -> Reading:
    first, second = observation.read(FIRST), observation.read(SECOND)
    others = second.by_layer()
    found = {index: (tensor, others[index]) for index, tensor in first.by_layer().items() if index in others}
    return Reading(list(found), list(found.values()))


def _reader(optimizers: Sequence[Any], names: Sequence[str]) -> Any:
    states = {id(key): state for optimizer in optimizers for key, state in _state_of(optimizer).items()}

    def read(layer: Layer) -> Tensor | None:
        parameter = raw_parameter(layer)
        state = states.get(id(parameter))
        if parameter is None or not isinstance(state, Mapping):
            return None
        found = next((each for name in names if _is_moment(each := state.get(name), parameter)), None)
        return None if found is None else found.detach()

    return read


def _state_of(optimizer: Any) -> Mapping[Any, Any]:
    state = getattr(optimizer, "state", None)
    return state if isinstance(state, Mapping) else {}


def _is_moment(value: Any, parameter: Tensor) -> bool:
    """Whether a value has one real or complex number for each entry of the parameter, and no integer codes."""
    number = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    return number and value.shape == parameter.shape
