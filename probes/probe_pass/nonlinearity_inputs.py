"""The input of each nonlinearity in one pass, and the layer that it comes from.

Every operator of the pass is seen. A module (``nn.ReLU``), a function (``F.gelu``), a method (``relu_``) and a fused
layer (timm's ``BatchNormAct2d``) are therefore treated alike. Each tensor has an origin: the layer in whose forward it
was made. A tensor made outside of layers has the origin of its arguments, and of several origins the layer that was
called last. Sums, pooling and views between a layer and its nonlinearity therefore do not hide the layer. The output of
a nonlinearity has no origin.

If the operator runs in a module without parameters and submodules, that module is the nonlinearity, and the module's
input is taken: ``NewGELUActivation`` calls tanh with a polynomial of its input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils.weak import WeakTensorKeyDictionary

from probes.hooks.seen_tensor import first_tensor, why_not_seen, with_channels
from probes.metrics.channels import ChannelMoments, channel_moments
from probes.metrics.nonlinearities import nonlinearity
from probes.model.layer import Layer

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)  # their gates are inside one operator on most devices


class Seen(NamedTuple):
    """The input of the nonlinearity behind a layer.

    Attributes:
        nonlinearity: The index of the nonlinearity in ``NONLINEARITIES``.
        moments: The moments of the channels of its input.
    """

    nonlinearity: int
    moments: ChannelMoments


class _Origin(NamedTuple):
    call: int  # number of the layer's call in this pass
    layer: int


@dataclass
class _Call:
    """A running call of a module.

    Attributes:
        origin: The origin of tensors that are made in the call; None outside of layers.
        given: Input of a module without parameters and submodules; None for any other module.
        hidden: Whether the module computes a weight, or is a recurrent layer.
        seen: Whether the module's nonlinearity has been seen.
    """

    origin: _Origin | None
    given: Tensor | None
    hidden: bool
    seen: bool = False


class NonlinearityInputs:
    """Sees the modules and operators of one pass.

    Args:
        layers: The observed layers with an output.

    Attributes:
        seen: The nonlinearity inputs, by the index of the layer before.
        inputs: By index, the channels of the input of each layer with running statistics.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers: Mapping[int, Layer] = {id(layer.module): layer for layer in layers}
        self._by_index = {layer.index: layer for layer in layers}
        self._holding_layers = {
            id(layer.module)
            for layer in layers
            if any(id(part) in self._layers for part in layer.module.modules() if part is not layer.module)
        }
        self._stack: list[_Call] = []
        self._calls = 0
        self._origins = WeakTensorKeyDictionary()
        self._places: dict[Any, int | None] = {}
        self.seen: dict[int, Seen] = {}
        self.inputs: dict[int, ChannelMoments] = {}

    def enter(self, module: nn.Module, args: Any) -> None:
        """See a module that is about to run."""
        outside = self._stack[-1] if self._stack else _Call(None, None, hidden=False)
        layer, given = self._layers.get(id(module)), first_tensor(args)
        hidden = outside.hidden or isinstance(module, (ParametrizationList, *_RECURRENT))
        origin = outside.origin
        if layer is not None and not hidden:
            self._calls += 1
            origin = None
            if id(module) not in self._holding_layers:
                origin = _Origin(self._calls, layer.index)
                self._note_input(layer, given)
        plain = layer is None and not module._modules and not module._parameters
        self._stack.append(_Call(origin, given if plain else None, hidden))

    def leave(self, output: Any) -> None:
        """See the output of the module that has run."""
        call = self._stack.pop()
        tensor = first_tensor(output)
        if call.seen and tensor is not None:
            self._origins.pop(tensor, None)

    def see(self, operator: Any, args: Sequence[Any], outputs: Any) -> None:
        """Note the origin of the outputs of an operator."""
        place = self._place(operator)
        origin = None if place is not None else self._origin_of(args)
        for tensor in outputs if isinstance(outputs, (tuple, list)) else [outputs]:
            if isinstance(tensor, Tensor):
                if origin is None:
                    self._origins.pop(tensor, None)
                else:
                    self._origins[tensor] = origin

    def look(self, operator: Any, args: Sequence[Any]) -> None:
        """Take the input of an operator that is about to run, if it is a nonlinearity."""
        place = self._place(operator)
        call = self._stack[-1] if self._stack else None
        if place is None or (call is not None and (call.hidden or call.seen)):
            return
        tensor = args[0] if call is None or call.given is None else call.given
        if call is not None and call.given is not None:
            call.seen = True
        origin = self._origins.get(tensor)
        if origin is None or why_not_seen(tensor, tensor) is not None:
            return
        moments = channel_moments(*with_channels(self._by_index[origin.layer].module, tensor))
        if moments is not None:
            self._add(origin.layer, place, moments)

    def _add(self, layer: int, place: int, moments: ChannelMoments) -> None:
        before = self.seen.get(layer)
        if before is None:
            self.seen[layer] = Seen(place, moments)
        elif len(before.moments.mean) == len(moments.mean):
            self.seen[layer] = Seen(before.nonlinearity, before.moments.merged(moments))

    def _note_input(self, layer: Layer, given: Tensor | None) -> None:
        if running_mean_of(layer.module) is None or given is None or why_not_seen(given, given) is not None:
            return
        moments = channel_moments(*with_channels(layer.module, given))
        if moments is not None:
            before = self.inputs.get(layer.index)
            self.inputs[layer.index] = moments if before is None else before.merged(moments)

    def _place(self, operator: Any) -> int | None:
        if operator not in self._places:
            self._places[operator] = nonlinearity(operator)
        return self._places[operator]

    def _origin_of(self, args: Sequence[Any]) -> _Origin | None:
        call = self._stack[-1] if self._stack else None
        if call is not None and call.origin is not None:
            return call.origin
        listed = [item for value in args for item in (value if isinstance(value, (tuple, list)) else [value])]
        found = (self._origins.get(tensor) for tensor in listed if isinstance(tensor, Tensor))
        return max((origin for origin in found if origin is not None), default=None)


def running_mean_of(module: nn.Module) -> Tensor | None:
    """Return the running mean of a norm, or of the norm that is a part of it; None if it keeps none."""
    return _running(module, "running_mean")


def running_variance_of(module: nn.Module) -> Tensor | None:
    """Return the running variance of a norm; None if it keeps none, as in mean-centring."""
    return _running(module, "running_var")


def _running(module: nn.Module, name: str) -> Tensor | None:
    return next((found for part in module.modules() if (found := part._buffers.get(name)) is not None), None)
