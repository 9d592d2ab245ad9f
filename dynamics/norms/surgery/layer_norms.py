"""Layer norms and RMS norms of sequences, exchanged for a mean-centring or a shift of each channel."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.surgery.overridden_forward import computes_as

LAYER_NORMS = (nn.LayerNorm, nn.RMSNorm)


def check_layer_norms(model: nn.Module, norm: str) -> None:
    """Raise for layer norms that cannot be exchanged, before the model is changed.

    Raises:
        ValueError: There are no layer norms; the new norm is batch norm; a layer norm takes its moments over several
            dimensions, or is of a subclass with its own forward. The message names the module.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, LAYER_NORMS)}
    if not found:
        raise ValueError(f"{type(model).__name__} has no layer norm or RMS norm that {norm!r} could replace")
    if norm == "bn":
        raise ValueError("layer norms become none, sn or msn, not bn: batch norm expects its channels in dimension 1")
    for name, module in found.items():
        if not computes_as(module, LAYER_NORMS):
            raise ValueError(
                f"{name}: {type(module).__name__} has a forward of its own, which would be lost: use a norm of torch"
            )
        if len(module.normalized_shape) > 1:
            raise ValueError(f"{name}: expected a norm over the last dimension alone, got {module}")


def exchange_layer_norms(model: nn.Module, norm: str) -> nn.Module:
    """Exchange every layer norm and return the model, which may itself be a norm. A shared norm stays shared."""
    reference = next(model.parameters(), torch.empty(0))
    made: dict[nn.Module, nn.Module] = {
        module: _exchanged(module, norm, reference).train(module.training)
        for module in model.modules()
        if isinstance(module, LAYER_NORMS)
    }
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in made:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made[module])
    _leave_fast_path(model)
    return made.get(model, model)


def _exchanged(old: nn.Module, norm: str, reference: Tensor) -> nn.Module:
    """Return the mean-centring for ``msn``, else only the shift; m starts from beta, or from 0 for an RMS norm."""
    (channels,) = cast(tuple[int], old.normalized_shape)
    shift, scale = getattr(old, "bias", None), cast(Tensor | None, old.weight)
    if norm != "msn" and shift is None:
        return nn.Identity()
    new: MeanCentring | ChannelBias = (
        MeanCentring(channels, channel_dim=-1, bias=scale is not None)
        if norm == "msn"
        else ChannelBias(channels, channel_dim=-1)
    )
    reference = reference if scale is None else scale
    new = new.to(device=reference.device, dtype=reference.dtype)
    if shift is not None and new.bias is not None:
        new.bias.data = shift.detach().clone()
    return new


def _leave_fast_path(model: nn.Module) -> None:
    """Turn off the fast path of torch's transformer encoders, so that they call their modules in evaluation too.

    The fast path reads scale, shift and eps of two layer norms and computes the norms itself. torch does not take it if
    the activation is unknown or nested tensors are disabled.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and not isinstance(module.norm1, nn.LayerNorm):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
