"""The channel dimension of an output, and the tensor of a structured output that is observed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from probes.model.module_kinds import BATCH_NORMS, CONVOLUTIONS

_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention)
_CHANNELS_FIRST = (*CONVOLUTIONS, *BATCH_NORMS, nn.GroupNorm)


def channel_dim(module: nn.Module, ndim: int) -> int:
    """Return which dimension of a module's output counts channels.

    The last for linear, embedding, layer norm, recurrent and attention layers, the second for convolutions and batch
    norms; for other modules the second, unless the output is ``(batch, position, feature)``.
    """
    if ndim <= 1 or isinstance(module, _CHANNELS_LAST):
        return -1
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    return -1 if ndim == 3 else 1


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in a tensor, a tuple, a list or a dict, however deep; None if there is none."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, (tuple, list)):
        value = value.values() if isinstance(value, Mapping) else ()
    for item in value:
        if (found := first_tensor(item)) is not None:
            return found
    return None


def local_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a distributed tensor; any other tensor as it is."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
