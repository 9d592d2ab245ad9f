"""Mean-centring of a layer's output: h - E[h] + m per channel (Eq. 7, 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dynamics.norms.functional_transforms import needs_plain_operations, write
from dynamics.norms.torch_internals import in_backward

if TYPE_CHECKING:  # a torch without distributed has no such name
    from torch.distributed import ProcessGroup


def channel_view(vector: Tensor, *, like: Tensor, dim: int = 1) -> Tensor:
    """Return a vector ``(C,)`` as ``(C, 1, ...)``, which broadcasts against ``like`` with C in dimension ``dim``."""
    return vector.view(-1, *(1,) * (like.ndim - 1 - dim % like.ndim))


def channel_sum(h: Tensor, dim: int = 1) -> Tensor:
    """Return the sum of each channel, ``(C,)``, over all dimensions of ``h`` but ``dim``; float32 at least."""
    return h.sum(_others(h, dim), dtype=_at_least_float32(h))


def channel_mean(h: Tensor, dim: int = 1) -> Tensor:
    """Return the mean of each channel, ``(C,)``, over all dimensions of ``h`` but ``dim``; float32 at least."""
    return h.mean(_others(h, dim), dtype=_at_least_float32(h))


def _others(h: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(other for other in range(h.ndim) if other != dim % h.ndim)


def _values_a_channel(h: Tensor, dim: int) -> int:
    return h.numel() // h.shape[dim]


def checked_channel_dim(channel_dim: int) -> int:
    """Return ``channel_dim`` itself if it can be the dimension of the channels.

    Raises:
        ValueError: It is 0, the dimension of the batch.
    """
    if channel_dim == 0:
        raise ValueError("channel_dim 0 is the batch: expected 1 for (N, C, ...), or -1 for (N, time, C)")
    return channel_dim


def has_channels(h: Tensor, channels: int, dim: int) -> bool:
    """Return whether ``h`` has a batch dimension, and ``channels`` channels in dimension ``dim``."""
    return h.ndim >= 2 and -h.ndim < dim < h.ndim and h.shape[dim] == channels


def expected_shape(channels: int, dim: int) -> str:
    """Return the shape of inputs as text: ``(N, 3, ...)``, or ``(N, ..., 3)`` with the channels last."""
    if dim in {1, -1}:
        return f"(N, {channels}, ...)" if dim == 1 else f"(N, ..., {channels})"
    return f"a batch with {channels} in dimension {dim}"


def _at_least_float32(h: Tensor) -> torch.dtype:
    return torch.promote_types(h.dtype, torch.float32)


class _Recentre(torch.autograd.Function):
    """``h - E[h] + m``, with backward ``G - E[G]`` for h and the sum of G for m.

    The forward moves the running mean towards E[h] and saves no activation. With ``ranks`` E is the mean over the
    batches of all processes of the group.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes arguments by position
        ctx: Any,
        h: Tensor,
        m: Tensor | None,
        running_mean: Tensor,
        momentum: float,
        inplace: bool,
        ranks: ProcessGroup | None,
        dim: int,
    ) -> Tensor:
        ctx.has_bias, ctx.ranks, ctx.dim = m is not None, ranks, dim
        if ranks is not None:
            mean, ctx.count = _mean_over_ranks(h, ranks, dim)
        else:
            mean, ctx.count = channel_mean(h, dim), _values_a_channel(h, dim)
        if not in_backward():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        shift = channel_view(-mean if m is None else m - mean, like=h, dim=dim)
        if not inplace:
            return (h + shift).to(h.dtype)
        ctx.mark_dirty(h)  # running_mean changes in place too, but nothing differentiates with respect to it
        return h.add_(shift)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor | None, ...]:
        total = channel_sum(G, ctx.dim)
        bias_grad = total if ctx.has_bias else None
        factor = -1 / ctx.count  # Eq. 10; the addition below divides by the count
        if ctx.ranks is not None:
            total, factor = _sum_over_ranks(total, ctx.ranks) / ctx.count, -1.0
        centred = torch.add(G, channel_view(total, like=G, dim=ctx.dim), alpha=factor).to(G.dtype)
        return centred, bias_grad, None, None, None, None, None


def _mean_over_ranks(h: Tensor, ranks: ProcessGroup, dim: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each channel over all processes and the number of values it was taken over."""
    total = channel_sum(h, dim)
    both = _sum_over_ranks(torch.cat([total, total.new_tensor([_values_a_channel(h, dim)])]), ranks)
    return both[:-1] / both[-1], both[-1]


def _sum_over_ranks(vector: Tensor, ranks: ProcessGroup) -> Tensor:
    """Return the sum over all processes. A recorded second derivative flows back to all of them."""
    if torch.is_grad_enabled() and vector.requires_grad:
        return cast(Tensor, _SumOverRanks.apply(vector, ranks))
    vector = vector.clone()
    dist.all_reduce(vector, group=ranks)
    return vector


class _SumOverRanks(torch.autograd.Function):
    """The sum over all processes, differentiable: its backward sums the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, ranks: ProcessGroup) -> Tensor:
        ctx.ranks = ranks
        return _sum_over_ranks(vector, ranks)

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[Tensor, None]:
        return _sum_over_ranks(G, ctx.ranks), None


class MeanCentring(nn.Module):
    """``h - E[h] + m``: put each channel on a learned mean.

    Training subtracts the mean over batch and space and updates a running mean. Evaluation subtracts the running mean.
    The Jacobian with respect to h is the projection ``G -> G - E[G]``. Input and output are ``(N, C, ...)``, or
    ``(N, ..., C)`` with ``channel_dim=-1``. The latter are sequences, ``(batch, time, channel)``, whose mean is over
    batch and time. In training each time step then depends on later time steps through that mean; not in evaluation.

    The running mean moves once in each training forward, also under ``no_grad``, as batch norm's does. It never moves
    in evaluation. Activation checkpointing repeats the forward within the backward; the repetition does not move it.
    Under ``torch.func`` it moves too. A ``vmap`` over samples needs evaluation, as each sample has a mean of its own.

    Args:
        num_features: Channels C.
        channel_dim: Dimension of the channels: 1, or -1 for sequences.
        bias: True learns m; False fixes m = 0.
        momentum: Weight of the newest batch in the running mean, 0 to 1.
        inplace: Overwrite the input. Use it right behind a linear or convolution layer, whose backward never reads its
            output. Autograd raises if another operation's backward needs the input.
        sync: Take the mean over the batches of all processes (``torch.distributed``), as SyncBatchNorm does. The
            forward makes one all-reduce of C + 1 numbers, the backward one of C. Without ``sync`` each process centres
            on its own batch, and DDP copies the running mean of the first process to the others.
        process_group: The processes whose batches ``sync`` joins; None for all.

    Raises:
        ValueError: The input does not have ``num_features`` channels in ``channel_dim``, a training batch has one value
            a channel, or ``channel_dim`` is 0.

    Source: the paper's Eq. 7 and 10.
    """

    bias: nn.Parameter | None
    running_mean: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        channel_dim: int = 1,
        bias: bool = True,
        momentum: float = 0.1,
        inplace: bool = False,
        sync: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.momentum, self.inplace = num_features, momentum, inplace
        self.channel_dim = checked_channel_dim(channel_dim)
        self.sync, self.process_group = sync, process_group
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)) if bias else None)
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return the centred h."""
        ranks = self._ranks()
        self._check(h, ranks)
        plainly = needs_plain_operations(*(t for t in (h, self.bias) if t is not None))
        if not self.training:
            return self._shift(h, self.running_mean, inplace=self.inplace and not plainly)
        if (plainly or torch.compiler.is_compiling()) and ranks is None:
            # A compiler fuses the plain formula. The autograd function below is for eager mode.
            mean = channel_mean(h, self.channel_dim)
            self._move_running_mean(mean.detach())
            return self._shift(h, mean, inplace=False)
        settings = self.momentum, self.inplace, ranks, self.channel_dim
        return cast(Tensor, _Recentre.apply(h, self.bias, self.running_mean, *settings))

    def _ranks(self) -> ProcessGroup | None:
        """Return the processes that share the mean; None if this process has its own mean."""
        if not self.training or not self.sync or not dist.is_initialized():
            return None
        group = self.process_group or dist.group.WORLD
        return group if dist.get_world_size(group) > 1 else None

    def _move_running_mean(self, mean: Tensor) -> None:
        if not in_backward():
            write(self.running_mean, self.running_mean.lerp(mean.to(self.running_mean.dtype), self.momentum))

    def _shift(self, h: Tensor, mean: Tensor, *, inplace: bool) -> Tensor:
        """Return ``h - mean + m`` by plain operations."""
        shift = channel_view(-mean if self.bias is None else self.bias - mean, like=h, dim=self.channel_dim)
        return h.add_(shift) if inplace else (h + shift).to(h.dtype)

    def _check(self, h: Tensor, ranks: ProcessGroup | None) -> None:
        if torch.jit.is_tracing():  # a tracer makes sizes tensors, and warns when Python compares them
            return
        if not has_channels(h, self.num_features, self.channel_dim):
            expected = expected_shape(self.num_features, self.channel_dim)
            raise ValueError(f"MeanCentring: expected {expected}, got {tuple(h.shape)}")
        if self.training and h.numel() <= self.num_features and ranks is None:
            raise ValueError(
                f"MeanCentring: a training batch of shape {tuple(h.shape)} has one value a channel, and its mean is "
                "the value itself: every output would be m. Use a larger batch, or eval()."
            )

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        sync = ", sync=True" if self.sync else ""
        place = "" if self.channel_dim == 1 else f", channel_dim={self.channel_dim}"
        return f"{self.num_features}{place}, bias={self.bias is not None}, momentum={self.momentum}{sync}"
