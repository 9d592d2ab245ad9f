"""Weights rounded to int8 after training, with one scale for each output channel, and the sizes of networks in bytes.

Torch's own ``torch.ao.quantization`` is deprecated in favour of the package torchao. Rounding only weights needs
neither: the network computes with the rounded weights in float32, so accuracy can be measured on any machine.
Activations stay float32. A runtime that also rounds activations may lose more accuracy.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dynamics.norms.weight_matrix import LAYERS, output_channels, output_dimension

LEVELS = 127  # largest integer; -128 stays unused, so that the scale is the same for both signs


def quantised(network: nn.Module) -> nn.Module:
    """Return a copy whose linear and convolution weights are integer multiples, -127 to 127, of their channel's scale.

    A weight changes by at most half a scale. Biases and other tensors are not changed.

    Args:
        network: A network of plain weights, from :func:`dynamics.deploy.folding.fold_network`.
    """
    network = copy.deepcopy(network)
    for layer in quantised_layers(network):
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        whole, scale = as_int8(weight.detach(), dim=output_dimension(layer))
        layer.weight = nn.Parameter(whole * scale, requires_grad=False)
    return network


def as_int8(weight: Tensor, *, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Return a weight as integers and the scale of each channel: ``whole * scale`` is the rounded weight.

    ``scale = max |w| / 127`` over a channel, so its largest weight is exact and no weight is clipped. A channel of
    zeros has scale 1.

    Args:
        weight: Any shape.
        dim: The dimension of the channels.

    Returns:
        ``(whole, scale)``: ``whole`` is int8 of the weight's shape. ``scale`` has the weight's size in dimension
        ``dim``, and size 1 in the others.
    """
    others = [axis for axis in range(weight.ndim) if axis != dim]
    scale = weight.abs().amax(others, keepdim=True) / LEVELS
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (weight / scale).round().clamp(-LEVELS, LEVELS).to(torch.int8), scale


def quantised_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers whose weight is rounded."""
    return [module for module in network.modules() if isinstance(module, LAYERS)]


def float_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers, each tensor once."""
    tensors = {id(t): t for t in (*network.parameters(), *network.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def int8_bytes(network: nn.Module) -> int:
    """Return the bytes with one byte for each weight and a float32 scale for each channel; the rest stays float."""
    saved = 0
    for layer in quantised_layers(network):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        saved += weight.numel() * (weight.element_size() - 1) - 4 * output_channels(layer)
    return float_bytes(network) - saved
