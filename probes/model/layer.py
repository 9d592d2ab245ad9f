"""One observed layer, and readers of its weight that change nothing in the training."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Older hooks (torch.nn.utils.spectral_norm, weight_norm) keep the parameter under another name and the weight as a
# plain attribute. The optimizer updates the first entry that exists.
LEGACY_SUFFIXES = ("_orig", "_v")


@dataclass(frozen=True)
class Layer:
    """One observed layer.

    Attributes:
        name: Dotted module name without wrappers and "parametrizations".
        index: Position among the observed layers, from 0.
        kind: Class name of the module before any parametrization.
        module: The module itself.
        weight: Attribute name of the observed weight; None if there is none, or if it is tied to another layer's
            weight.
        bias: Attribute name of the bias that belongs to the weight; None if there is none.
        observes_output: Whether this row carries the module's activation.
    """

    name: str
    index: int
    kind: str
    module: nn.Module = field(repr=False)
    weight: str | None
    bias: str | None
    observes_output: bool

    @property
    def transposed(self) -> bool:
        """Whether the weight has its input dimension first, as in transposed convolutions."""
        return isinstance(self.module, _TRANSPOSED)

    @property
    def parametrized(self) -> bool:
        """Whether the forward pass uses a weight that differs from the parameter."""
        return self.weight is not None and self.weight not in self.module._parameters


def effective_weight(layer: Layer) -> Tensor:
    """Return the weight that the forward pass uses, detached.

    Nothing changes, not even in train mode.

    A parametrization runs in eval mode, and its mode is then restored. Reading ``module.weight`` in train mode would
    run a power iteration and change the training. Sharded parameters under the parametrization are gathered first, so
    all ranks have to call this function. The result may share storage with the parameter.
    """
    assert layer.weight is not None
    parametrizations = parametrizations_of(layer.module)
    if layer.weight in parametrizations:
        return _quietly(parametrizations[layer.weight])
    parameter = layer.module._parameters.get(layer.weight)
    if parameter is not None:
        return parameter.detach()
    return layer.module.__dict__[layer.weight].detach()


def raw_parameter(layer: Layer) -> nn.Parameter | None:
    """Return the parameter that the optimizer updates: the original under a parametrization, else the weight.

    If there are several originals (weight norm's length and direction), the original with the most elements is
    returned.
    """
    if layer.weight is None:
        return None
    parametrizations = parametrizations_of(layer.module)
    if layer.weight in parametrizations:
        originals = list(parametrizations[layer.weight]._parameters.values())
        return max((p for p in originals if p is not None), key=torch.Tensor.numel, default=None)
    parameter = layer.module._parameters.get(layer.weight)
    if parameter is not None:
        return parameter
    return _legacy_parameter(layer.module, layer.weight)


def bias_parameter(layer: Layer) -> Tensor | None:
    """Return the layer's bias (a norm's beta, mean-centring's m), detached, or None."""
    bias = layer.module._parameters.get(layer.bias) if layer.bias else None
    return None if bias is None else bias.detach()


def _legacy_parameter(module: nn.Module, name: str) -> nn.Parameter | None:
    for suffix in LEGACY_SUFFIXES:
        parameter = module._parameters.get(name + suffix)
        if parameter is not None:
            return parameter
    return None


def parametrizations_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return a module's parametrizations by the name of the tensor that each computes."""
    container = module._modules.get("parametrizations")
    return container._modules if isinstance(container, nn.ModuleDict) else {}


def _quietly(parametrization: nn.Module) -> Tensor:
    modes = [(module, module.training) for module in parametrization.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            whole = _gathered(parametrization)
            weight: Tensor = functional_call(parametrization, whole, ()) if whole else parametrization()
            return weight.detach()
    finally:
        for module, mode in modes:
            module.training = mode


def _gathered(module: nn.Module) -> dict[str, Tensor]:
    """Return the sharded parameters, gathered.

    Other vectors (of a power iteration) are no distributed tensors.
    """
    return {name: p.full_tensor() for name, p in module.named_parameters() if hasattr(p, "full_tensor")}
