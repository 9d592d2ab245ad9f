"""Mean-centring of a layer's output: h - E[h] + m per channel (Eq. 7, 10)."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dynamics.norms.ownership import is_ours

FEW_CHANNELS = 16


def channel_view(vector: Tensor, *, like: Tensor) -> Tensor:
    """Return ``(C,)`` as ``(C, 1, ...)``, which broadcasts against ``like``, ``(N, C, ...)``."""
    return vector.view(-1, *(1 for _ in range(like.ndim - 2)))


def channel_sum(h: Tensor) -> Tensor:
    """Return the sum of each channel, ``(C,)``, over batch and space of ``h``, ``(N, C, ...)``; float32 at least."""
    dtype, lines = _at_least_float32(h), _lines(h)
    if lines is None:
        return h.sum((0, *range(2, h.ndim)), dtype=dtype)
    return lines.sum(0, dtype=dtype).view(-1, h.shape[1]).sum(0)


def channel_mean(h: Tensor) -> Tensor:
    """Return the mean of each channel, ``(C,)``, over batch and space of ``h``, ``(N, C, ...)``; float32 at least."""
    return channel_sum(h) / (h.numel() // h.shape[1])


def add_to_channels(h: Tensor, shift: Tensor) -> Tensor:
    """Add a number to each channel, in place: ``h += shift``, ``(N, C, ...)`` and ``(C,)``; return h."""
    lines = _lines(h)
    if lines is None:
        return h.add_(channel_view(shift, like=h))
    lines.add_(shift.expand(lines.shape[1] // len(shift), -1).flatten())  # repeat() takes twice as long
    return h


def _lines(h: Tensor) -> Tensor | None:
    """Return channels-last images of few channels as a view, ``(lines, width * C)``; None for anything else.

    torch works along the last dimension: in rows of 12 channels it takes two to three times as long as in rows of 384.
    """
    if h.ndim != 4 or h.shape[1] > FEW_CHANNELS or torch.compiler.is_compiling():
        return None
    rows = h.permute(0, 2, 3, 1)
    return rows.view(-1, h.shape[3] * h.shape[1]) if h.numel() and rows.is_contiguous() else None


def _at_least_float32(h: Tensor) -> torch.dtype:
    return torch.float64 if h.dtype == torch.float64 else torch.float32


class _Recentre(torch.autograd.Function):
    """``h - mean + m`` where mean = E[h]; backward ``G - E[G]`` and, for m, the sum of G. Saves no activation.

    ``count`` is the number of values a channel had in E; with ``ranks``, of all processes together.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any, h: Tensor, mean: Tensor, m: Tensor | None, count: Tensor | int, inplace: bool, ranks: bool
    ) -> Tensor:
        ctx.count, ctx.has_bias, ctx.ranks = count, m is not None, ranks
        shift = -mean if m is None else m - mean
        if not inplace:
            return (h + channel_view(shift, like=h)).to(h.dtype)
        ctx.mark_dirty(h)
        return add_to_channels(h, shift)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        overwrite = is_ours(G)
        total = channel_sum(G)
        bias_grad = total if ctx.has_bias else None
        if ctx.ranks:
            total = _sum_over_ranks(total)
        mean = total / ctx.count
        centred = add_to_channels(G, -mean) if overwrite else (G - channel_view(mean, like=G)).to(G.dtype)
        return centred, None, bias_grad, None, None, None


def _sum_over_ranks(vector: Tensor) -> Tensor:
    vector = vector.clone()
    dist.all_reduce(vector)
    return vector


class MeanCentring(nn.Module):
    """``h - E[h] + m``: put each channel on a learned mean.

    Training subtracts the mean over batch and space and keeps a running one; evaluation subtracts the running mean.
    The Jacobian with respect to h is the projection ``G -> G - E[G]``. Input and output ``(N, C, ...)``.

    Args:
        num_features: Channels C.
        bias: Learn m; else m = 0.
        momentum: Weight of the newest batch in the running mean, 0 to 1.
        inplace: Overwrite the input. Meant right behind a linear or convolution layer, whose backward never reads its
            output; autograd raises if something else needed it.
        sync: Take the mean over the batches of all processes (``torch.distributed``), as SyncBatchNorm does. One
            all-reduce of C + 1 numbers forward, one of C backward. Without it each process centres on its own batch,
            and DDP hands every process the running mean of the first.

    Raises:
        ValueError: The input is not ``(N, num_features, ...)``, or a training batch has one value a channel.

    Source: the paper's Eq. 7 and 10.
    """

    bias: nn.Parameter | None
    running_mean: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        bias: bool = True,
        momentum: float = 0.1,
        inplace: bool = False,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.momentum, self.inplace, self.sync = num_features, momentum, inplace, sync
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)) if bias else None)
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return the centred h."""
        self._check(h)
        if not self.training:
            return self._shift(h, self.running_mean)
        if self.sync and dist.is_initialized() and dist.get_world_size() > 1:
            return self._recentre(h, *self._mean_over_ranks(h), ranks=True)
        if torch.compiler.is_compiling():
            # The compiler fuses the plain formula; the Function above is for eager mode.
            mean = channel_mean(h)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            return self._shift(h, mean, inplace=False)
        return self._recentre(h, channel_mean(h.detach()), h.numel() // h.shape[1], ranks=False)

    def _recentre(self, h: Tensor, mean: Tensor, count: Tensor | int, *, ranks: bool) -> Tensor:
        """Return h on its learned mean and remember the mean it had."""
        running_mean, bias = self.running_mean, self.bias
        running_mean.lerp_(mean.to(running_mean.dtype), self.momentum)
        return cast(Tensor, _Recentre.apply(h, mean, bias, count, self.inplace, ranks))

    @torch.no_grad()
    def _mean_over_ranks(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[h] over all processes and the number of values it was taken over."""
        total = channel_sum(h)
        packed = _sum_over_ranks(torch.cat([total, total.new_tensor([h.numel() // h.shape[1]])]))
        return packed[:-1] / packed[-1], packed[-1]

    def _shift(self, h: Tensor, mean: Tensor, *, inplace: bool | None = None) -> Tensor:
        """Return ``h - mean + m`` by plain operations."""
        shift = channel_view(-mean if self.bias is None else self.bias - mean, like=h)
        return h.add_(shift) if (self.inplace if inplace is None else inplace) else (h + shift).to(h.dtype)

    def _check(self, h: Tensor) -> None:
        if h.ndim < 2 or h.shape[1] != self.num_features:
            raise ValueError(f"MeanCentring: expected (N, {self.num_features}, ...), got {tuple(h.shape)}")
        if self.training and h.numel() <= h.shape[1] and not self.sync:
            raise ValueError(
                f"MeanCentring: a training batch of shape {tuple(h.shape)} has one value a channel, and its mean is "
                "the value itself: every output would be m. Use a larger batch, or eval()."
            )

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.num_features}, bias={self.bias is not None}, momentum={self.momentum}"
