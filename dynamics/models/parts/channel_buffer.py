"""Concatenation of DenseNet's channels in one preallocated buffer."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class ChannelBuffer:
    """The channels of a dense block: ``x`` first, then the channels that layers append. ``value`` holds all of them.

    Numbers and gradients equal those of ``torch.cat``. With ``torch.cat``, each layer would copy all earlier channels
    and add up one gradient for each copy. Here one buffer holds the channels of the block, and each ``value`` is a view
    of it with a single gradient.

    Copy ``value`` before you change it in place or save it for a backward pass.

    Args:
        x: The first channels, ``(N, C, h, w)``.
        channels: Final number of channels.
    """

    def __init__(self, x: Tensor, *, channels: int) -> None:
        # A compiler plans memory itself, and a traced graph (torch.fx) must show the concatenation.
        self._plain = torch.compiler.is_compiling() or isinstance(x, torch.fx.Proxy)
        self.value = x
        if not self._plain:
            shape = (x.shape[0], channels, *x.shape[2:])
            memory_format = torch.contiguous_format if x.is_contiguous() else torch.channels_last
            self._memory = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
            self.value = cast(Tensor, _Append.apply(x[:, :0], x, self._memory))

    def append(self, new: Tensor) -> None:
        """Add channels, ``(N, k, h, w)``."""
        if self._plain:
            self.value = torch.cat([self.value, new], 1)
        else:
            self.value = cast(Tensor, _Append.apply(self.value, new, self._memory))

    def copy(self) -> Tensor:
        """Return a copy of ``value``."""
        if self._plain or self._memory.is_contiguous():
            return self.value.clone(memory_format=torch.contiguous_format)
        return self.value.clone(memory_format=torch.channels_last)


class _Append(torch.autograd.Function):
    """Copy new channels behind the old channels, which ``memory`` already holds; return the view of both."""

    @staticmethod
    def forward(ctx: Any, old: Tensor, new: Tensor, memory: Tensor) -> Tensor:
        ctx.old = old.shape[1]
        end = ctx.old + new.shape[1]
        memory[:, ctx.old : end].copy_(new)
        return memory[:, :end]

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, Tensor, None]:
        return G[:, : ctx.old], G[:, ctx.old :], None
