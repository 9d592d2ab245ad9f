"""Mean-centring of a layer's output: h - E[h] + m per channel (Eq. 7, 10)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


def channel_view(vector: Tensor, *, like: Tensor) -> Tensor:
    """Return ``(C,)`` as ``(C, 1, ...)``, which broadcasts against ``like``, ``(N, C, ...)``."""
    return vector.view(-1, *(1 for _ in range(like.ndim - 2)))


def channel_mean(h: Tensor) -> Tensor:
    """Return the mean of each channel, ``(C,)``, over batch and space of ``h``, ``(N, C, ...)``; float32 at least."""
    dims = [d for d in range(h.ndim) if d != 1]
    return h.mean(dims, dtype=torch.promote_types(h.dtype, torch.float32))


class _Recentre(torch.autograd.Function):
    """``(h, mean) -> h - mean`` where mean = E[h]; backward ``G - E[G]`` (Eq. 10). Saves no activation."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, shift: Tensor, bias: Tensor | None, inplace: bool) -> Tensor:
        ctx.has_bias = bias is not None
        shift = channel_view(shift.to(h.dtype), like=h)
        if not inplace:
            return h + shift
        ctx.mark_dirty(h)
        return h.add_(shift)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        mean = channel_mean(G)
        bias_grad = mean * (G.numel() // G.shape[1]) if ctx.has_bias else None
        return G - channel_view(mean.to(G.dtype), like=G), None, bias_grad, None


class MeanCentring(nn.Module):
    """``h - E[h] + m``: centre each channel on a learned mean.

    Training subtracts the mean over batch and space and keeps a running one; evaluation subtracts the running mean.
    The Jacobian with respect to h is the projection ``G -> G - E[G]``. Input and output ``(N, C, ...)``.

    Args:
        num_features: Channels C.
        bias: Learn m (the paper's bias); else m = 0.
        momentum: Weight of the newest batch in the running mean, 0 to 1.
        inplace: Overwrite the input. Right behind a linear or convolution layer, whose backward never reads its output;
            autograd raises if something else needed it.

    Raises:
        ValueError: The input is not ``(N, num_features, ...)``, or a training batch has one value a channel.

    Source: the paper's Eq. 7 and 10.
    """

    bias: nn.Parameter | None
    running_mean: Tensor

    def __init__(self, num_features: int, *, bias: bool = True, momentum: float = 0.1, inplace: bool = False) -> None:
        super().__init__()
        self.num_features, self.momentum, self.inplace = num_features, momentum, inplace
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)) if bias else None)
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return the centred h."""
        self._check(h)
        if not self.training:
            shift = -self.running_mean if self.bias is None else self.bias - self.running_mean
            shift = channel_view(shift.to(h.dtype), like=h)
            return h.add_(shift) if self.inplace else h + shift
        with torch.no_grad():
            mean = channel_mean(h.detach())
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            shift = -mean if self.bias is None else self.bias - mean
        return cast(Tensor, _Recentre.apply(h, shift, self.bias, self.inplace))

    def _check(self, h: Tensor) -> None:
        if h.ndim < 2 or h.shape[1] != self.num_features:
            raise ValueError(f"MeanCentring: expected (N, {self.num_features}, ...), got {tuple(h.shape)}")
        if self.training and h.numel() <= h.shape[1]:
            raise ValueError(
                f"MeanCentring: a training batch of shape {tuple(h.shape)} has one value a channel, and its mean is "
                "the value itself: every output would be m. Use a larger batch, or eval()."
            )

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.num_features}, bias={self.bias is not None}, momentum={self.momentum}"
