"""The block of the plain networks: layer, norm, activation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.norms.norm import Norm


def block(layer: nn.Module, *, channels: int, norm: Norm, activation: Callable[[], nn.Module] = LeakyReLU) -> nn.Module:
    """Return ``conv -> norm -> activation`` as a Sequential whose children have these names.

    Args:
        layer: A two-dimensional convolution, plain or transposed; its weight is reparametrised in place.
        channels: Output channels of the layer.
        norm: The normalisation. If it has no module, there is no child ``norm``.
        activation: Makes the nonlinearity.
    """
    children: OrderedDict[str, nn.Module] = OrderedDict(conv=norm.weight(layer))
    if norm.module is not None:
        children["norm"] = norm.module(channels, 2)
    children["activation"] = activation()
    return nn.Sequential(children)
