"""The observed tensor of a module's output, in the form that reducers expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probes.hooks.channels import channel_dim


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in a tensor, tuple, list, mapping or dataclass, at any depth; None if there is none."""
    if isinstance(value, Tensor):
        return value
    for item in _items(value):
        if (found := first_tensor(item)) is not None:
            return found
    return None


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, Mapping):
        return value.values()
    fields = getattr(type(value), "__dataclass_fields__", None)
    return () if fields is None else [getattr(value, name, None) for name in fields]


def why_not_seen(tensor: Tensor | None, output: Any) -> str | None:
    """Return why the output in which this tensor was found has no statistics; None if it has statistics."""
    if tensor is None:
        return f"the output, a {type(output).__name__}, has no tensor in it that is found"
    if tensor.is_nested:
        return "the output is a nested tensor, whose rows are of unlike length"
    if tensor.is_meta:
        return "the output is on device meta, where tensors have no values"
    if tensor.layout != torch.strided:
        return f"the output is a sparse tensor ({str(tensor.layout).removeprefix('torch.')})"
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return f"the output's {str(tensor.dtype).removeprefix('torch.')} entries are not floating-point numbers"
    return None


def with_channels(module: nn.Module, tensor: Tensor) -> tuple[Tensor, int]:
    """Return a module's output, samples first, and the dimension that counts its channels, 1 or more.

    A distributed tensor is replaced by this rank's part. Complex numbers become real and imaginary parts in an
    additional last dimension. An output without a batch dimension, such as ``(C, H, W)`` of a convolution, becomes a
    batch of one.
    """
    local = _local_part(tensor.detach())
    channels = channel_dim(module, local.shape)
    if local.is_complex():
        local = torch.view_as_real(local.resolve_conj())
    if channels:
        return local, channels
    return local.reshape(1, *local.shape) if local.ndim else local.reshape(1, 1), 1


def _local_part(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
