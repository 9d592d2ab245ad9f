"""A norm's scale and shift in evaluation, moved into the weight and bias of the layer before it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.torch_internals import BatchNorm
from dynamics.norms.weight_matrix import TRANSPOSED


@torch.no_grad()
def absorb(layer: nn.Module, norm: nn.Module) -> None:
    """Change a linear or convolution layer so that its output equals that of layer and norm in evaluation.

    Args:
        layer: The layer, with a plain weight.
        norm: A batch norm with running moments, a mean-centring or a channel bias, of the layer's output channels.
    """
    if isinstance(norm, BatchNorm):
        layer.weight, layer.bias = _scaled(layer, norm)
        return
    shift = evaluation_shift(norm)
    bias = shift if layer.bias is None else layer.bias.to(shift) + shift  # type: ignore[operator]
    layer.bias = nn.Parameter(bias)


def evaluation_shift(norm: nn.Module) -> Tensor:
    """Return the shift of each channel by a mean-centring or a channel bias in evaluation: ``m - running mean``."""
    mean = norm.running_mean if isinstance(norm, MeanCentring) else None
    bias = norm.bias
    assert isinstance(bias, Tensor) or isinstance(mean, Tensor)
    if mean is None:
        return bias.detach().clone()  # type: ignore[operator]
    return -mean if bias is None else bias.detach() - mean  # type: ignore[operator]


def _scaled(layer: nn.Module, norm: BatchNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the layer's weight and bias with the scale and shift of batch norm."""
    weight, bias, transposed = layer.weight, layer.bias, isinstance(layer, TRANSPOSED)
    assert norm.running_mean is not None
    scale = torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight
    shift = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    moments = (norm.running_mean, norm.running_var, norm.eps, scale, shift)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_weights(weight, bias, *moments)  # type: ignore[arg-type]
    groups = cast(int, layer.groups) if transposed else 1
    if groups == 1:
        return fuse_conv_bn_weights(weight, bias, *moments, transpose=transposed)  # type: ignore[arg-type]
    # The groups of a transposed weight, (in, out/groups, ...), have different scales. Rearranged to
    # (in/groups, out, ...), the weight has the single group that torch's function expects.
    apart = torch.cat(weight.chunk(groups), dim=1)  # type: ignore[operator]
    apart, shifted = fuse_conv_bn_weights(apart, bias, *moments, transpose=True)  # type: ignore[arg-type]
    return nn.Parameter(torch.cat(apart.chunk(groups, dim=1))), shifted
