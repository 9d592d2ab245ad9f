"""Saturated entries of pre-activations, and the largest entry of each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probes.metrics.activation_moments import OUTPUT
from probes.metrics.channel_layout import channel_layout, numbers
from probes.metrics.channel_sums import ChannelSums, channel_sums
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, channels_last_rows, count, finish_together
from probes.metrics.waiting import looks_wait
from probes.schema import Column

SATURATED = 3.0  # tanh has less than 1 % of its slope there
HEAD = 2  # n, saturated entries; the channel maxima follow


class RangeParts(NamedTuple):
    """The partial results of an activation on a device that must not be waited for, until all layers are combined."""

    n: int
    saturated: Tensor  # a number
    maxima: Tensor


def reduce_range(activation: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, entries with |x| > 3, channel maxima...]`` in float64; no elements give 0, 0 and -inf."""
    found = begin_range(activation, channel_dim)
    return found if isinstance(found, Tensor) else finish_range([found])[0]


Begun = RangeParts | ChannelSums


def begin_range(activation: Tensor, channel_dim: int) -> Tensor | Begun:
    """Begin :func:`reduce_range`: return its vector, or the input from which :func:`finish_range` makes it."""
    if activation.ndim < 2:
        activation, channel_dim = activation.reshape(1, -1), 1
    if not activation.numel():
        channels = activation.shape[channel_dim]
        return torch.tensor([0.0, 0.0] + [-torch.inf] * channels, dtype=torch.float64, device=activation.device)
    if looks_wait(activation):
        sums = channel_sums(activation, channel_dim)
        if sums is not None:
            return sums
        saturated = torch.count_nonzero(activation.abs() > SATURATED)
        maxima = channel_planes(activation, channel_dim).amax((0, 2))
        return RangeParts(activation.numel(), saturated, maxima)
    saturated = count(_lies_beyond, activation, SATURATED).reshape(1)
    maxima = _channel_maxima(activation, channel_dim).double()
    return torch.cat([torch.full_like(saturated, activation.numel()), saturated, maxima])


def finish_range(begun: Sequence[Begun]) -> Sequence[Tensor]:
    """Return the vectors of :func:`reduce_range` of several activations, with a few calls for each device."""
    return finish_together(begun, key=lambda each: (type(each), each[-1].device), finish=_finish_alike)


def _finish_alike(begun: Sequence[Any]) -> Sequence[Tensor]:
    """Return the vectors of partial results of one kind on one device."""
    device = begun[0][-1].device
    channels, saturated, maxima = _of_sums(begun) if isinstance(begun[0], ChannelSums) else _of_parts(begun)
    layout = channel_layout(channels, HEAD, device)
    together = torch.empty(sum(channels) + HEAD * len(begun), dtype=torch.float64, device=device)
    together[layout.heads] = torch.stack([numbers(tuple(each.n for each in begun), device), saturated])
    together[layout.places] = maxima
    return together.split([HEAD + each for each in channels])


def _of_parts(begun: Sequence[RangeParts]) -> tuple[tuple[int, ...], Tensor, Tensor]:
    _, saturated, maxima = zip(*begun, strict=True)
    return tuple(map(len, maxima)), torch.stack(saturated).double(), torch.cat(maxima).double()


def _of_sums(begun: Sequence[ChannelSums]) -> tuple[tuple[int, ...], Tensor, Tensor]:
    channels = tuple(each.parts.shape[1] for each in begun)
    parts = torch.cat([each.parts[4:] for each in begun], dim=1)  # NaN, zeros, beyond 3, the largest
    owners = channel_layout(channels, HEAD, parts.device).owners
    saturated = parts.new_zeros(len(begun)).index_add_(0, owners, parts[2].sum(1))
    return channels, saturated, torch.where(parts[0].sum(1) > 0, torch.nan, parts[3].amax(1))


def _lies_beyond(x: Tensor, bound: float, *, out: Tensor | None = None) -> Tensor:
    magnitudes = torch.abs(x, out=out)
    return torch.gt(magnitudes, bound, out=out)


def _channel_maxima(activation: Tensor, channel_dim: int) -> Tensor:
    rows = channels_last_rows(activation, channel_dim)
    if rows is None:
        return channel_planes(activation, channel_dim).amax(2).amax(0)
    # First reduce over whole samples side by side: with few columns torch takes maxima one number at a time.
    return rows.view(len(activation), -1).amax(0).view(-1, rows.shape[1]).amax(0)


def merge_range(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_range`, ``(parts, size)``: the sum of counts, the largest of maxima."""
    seen = torch.where(vectors[:, :1] > 0, vectors[:, HEAD:], -torch.inf)
    return torch.cat([vectors[:, :HEAD].sum(0), seen.amax(0)])


def saturated_share(vectors: list[Tensor]) -> Tensor:
    """Return the share of saturated entries, ``(1, layers)``; no elements: NaN."""
    n, saturated = torch.stack([vector[:HEAD] for vector in vectors]).unbind(1)
    return (saturated / n).unsqueeze(0)


RANGE = Reducer(begin_range, merge_range, finish=finish_range, head=HEAD)

ACTIVATION_RANGE = Metric(
    "activation_range",
    "saturation",
    "activation_range",
    saturated_share,
    (Column("saturated_fraction", "1", "share of entries with |x| > 3", OUTPUT),),
    min_steps_between=10,
    reducer=RANGE,
)
