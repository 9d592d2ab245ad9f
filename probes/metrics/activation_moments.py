"""Mean and variance of pre-activations, and the mean of each channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probes.metrics.channel_layout import channel_layout, numbers
from probes.metrics.channel_sums import ChannelSums, channel_sums
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, finish_together, pieces
from probes.metrics.waiting import looks_wait
from probes.schema import Column, pa

HEAD = 4  # n, mean, sum of squared deviations, non-finite entries; the channel means follow
_SAFE = 1e-26  # mean square below which the squares of smaller elements are lost in float32
_CANCELLATION = 64.0  # mean^2 / var beyond which one pass in float32 loses more than two digits


class ChannelVariances(NamedTuple):
    """The partial results of an activation on a device that must not be waited for, until all layers are combined."""

    n: int
    variances: Tensor
    means: Tensor
    nonfinite: Tensor  # a number


class PartialMoments(NamedTuple):
    """The partial results of an activation on the CPU.

    Its vector is made together with those of other layers.
    """

    n: int
    mean: float
    squares: float  # about the mean
    nonfinite: int
    channel_sums: Tensor  # float64


def reduce_moments(activation: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, mean, sum((x - mean)^2), nonfinite, channel means...]`` in float64.

    On the CPU, one pass makes partial sums in float32, which are combined in float64. A second pass follows only if the
    mean is so large that the difference of squares would cancel, or if the squares are too small or too large for
    float32. Other devices use Welford's method, which needs no look at the data. Its variance has an error of about
    ``(1e-7 mean)^2``, and is infinite for entries beyond 1e18. No elements give zeros.
    """
    found = begin_moments(activation, channel_dim)
    return found if isinstance(found, Tensor) else finish_moments([found])[0]


Begun = PartialMoments | ChannelVariances | ChannelSums


def begin_moments(activation: Tensor, channel_dim: int) -> Tensor | Begun:
    """Begin :func:`reduce_moments`: return its vector, or the input from which :func:`finish_moments` makes it.

    On the CPU the vector of a float64 activation, or of one that needs float64, is returned at once. Otherwise few
    calls are made here, and the remaining calls serve all layers together. A call between two layers is slow: on a CPU
    its code has left the caches, and on a GPU it has to be launched.
    """
    if activation.ndim < 2:
        activation, channel_dim = activation.reshape(1, -1), 1
    if not activation.numel():
        return torch.zeros(HEAD + activation.shape[channel_dim], dtype=torch.float64, device=activation.device)
    if looks_wait(activation):
        return channel_sums(activation, channel_dim) or _begin_channel_variances(activation, channel_dim)
    if activation.device.type == "cpu" and activation.dtype != torch.float64:
        return _from_partial_sums(activation, channel_dim)
    return _from_channel_variances(activation, channel_dim)


def finish_moments(begun: Sequence[Begun]) -> Sequence[Tensor]:
    """Return the vectors of :func:`reduce_moments` of several activations, of any sizes and on any devices."""
    return finish_together(begun, key=_kind_and_device, finish=lambda some: _FINISH[type(some[0])](some))


def _kind_and_device(each: Begun) -> tuple[type, torch.device | None]:
    return type(each), each[1].device if isinstance(each, ChannelVariances | ChannelSums) else None


def _finish_on_host(partial: Sequence[Any]) -> Sequence[Tensor]:
    n, mean, squares, nonfinite, channel_sums = zip(*partial, strict=True)
    channels = np.array([len(sums) for sums in channel_sums])
    means = torch.cat(channel_sums).numpy() / np.repeat(np.array(n) / channels, channels)
    return _vectors(np.array([n, mean, squares, nonfinite], dtype=np.float64), means, channels)


def _finish_variances(begun: Sequence[ChannelVariances]) -> Sequence[Tensor]:
    sizes, variances, means, nonfinite = zip(*begun, strict=True)
    channels = tuple(len(each) for each in means)
    each = _entries_a_channel(sizes, channels, means[0].device)
    squares = torch.cat(variances).double() * each
    return _put_together(
        sizes, channels, torch.cat(means).double(), squares, torch.stack(nonfinite).double(), each=each
    )


def _finish_sums(begun: Sequence[ChannelSums]) -> Sequence[Tensor]:
    sizes, parts = zip(*begun, strict=True)
    channels = tuple(each.shape[1] for each in parts)
    each = _entries_a_channel(sizes, channels, parts[0].device)
    together = torch.cat([part[:4] for part in parts], dim=1)
    first, second, bad = together[1:].sum(2)
    squares = (second - first.square() / each).clamp_min(0)
    owners = channel_layout(channels, HEAD, parts[0].device).owners
    nonfinite = bad.new_zeros(len(sizes)).index_add_(0, owners, bad)
    return _put_together(sizes, channels, together[0, :, 0] + first / each, squares, nonfinite, each=each)


def _entries_a_channel(sizes: tuple[int, ...], channels: tuple[int, ...], device: torch.device) -> Tensor:
    """Return how many entries each channel of some activations has, one activation after the other."""
    layout = channel_layout(channels, HEAD, device)
    return (numbers(sizes, device) / layout.channels)[layout.owners]


def _put_together(
    sizes: tuple[int, ...],
    channels: tuple[int, ...],
    means: Tensor,
    squares: Tensor,
    nonfinite: Tensor,
    *,
    each: Tensor,
) -> Sequence[Tensor]:
    """Return the vectors of some activations on a device.

    The number of calls does not depend on the number of activations.

    Args:
        sizes: Entries of each activation.
        channels: Channels of each activation.
        means: Mean of each channel, one activation after the other.
        squares: Sum of the squared deviations of each channel from its mean.
        nonfinite: Number of non-finite entries of each activation.
        each: Entries of each channel.
    """
    layout = channel_layout(channels, HEAD, means.device)
    n = numbers(sizes, means.device)
    mean = n.new_zeros(len(n)).index_add_(0, layout.owners, means) / layout.channels
    apart = (means - mean[layout.owners]).square() * each
    total = n.new_zeros(len(n)).index_add_(0, layout.owners, squares + apart)
    vectors = n.new_empty(sum(channels) + HEAD * len(n))
    vectors[layout.heads] = torch.stack([n, mean, total, nonfinite])
    vectors[layout.places] = means
    return vectors.split([HEAD + each for each in channels])


_FINISH: dict[type, Callable[[Sequence[Any]], Sequence[Tensor]]] = {
    PartialMoments: _finish_on_host,
    ChannelVariances: _finish_variances,
    ChannelSums: _finish_sums,
}


def _begin_channel_variances(activation: Tensor, channel_dim: int) -> ChannelVariances:
    """Return the results of Welford's method and of a count: all that needs the entries themselves."""
    wide = activation if activation.dtype == torch.float64 else activation.float()
    variances, means = torch.var_mean(channel_planes(wide, channel_dim), dim=(0, 2), correction=0)
    nonfinite = torch.count_nonzero(activation - activation)  # x - x is NaN if x is not finite, else 0
    return ChannelVariances(activation.numel(), variances, means, nonfinite)


def _from_channel_variances(activation: Tensor, channel_dim: int) -> Tensor:
    return _finish_variances([_begin_channel_variances(activation, channel_dim)])[0]


def _from_partial_sums(activation: Tensor, channel_dim: int) -> PartialMoments | Tensor:
    channel_sums, squares = _partial_sums(activation, channel_dim)
    n, total = activation.numel(), channel_sums.sum().item()
    mean = total / n
    nonfinite = 0
    if not math.isfinite(total) or math.isinf(squares):
        nonfinite = n - sum(int(torch.count_nonzero(piece.isfinite())) for piece in pieces(activation))
        if not nonfinite:  # the entries are finite, and only the sums exceed float32
            return _from_channel_variances(activation.double(), channel_dim)
    deviations = squares - total * mean
    exact = total * mean <= _CANCELLATION * deviations and squares > _SAFE * n
    if not exact and not nonfinite:
        deviations = sum(_squares_about(piece, mean) for piece in pieces(activation))
    return PartialMoments(n, mean, deviations, nonfinite, channel_sums)


def _partial_sums(activation: Tensor, channel_dim: int) -> tuple[Tensor, float]:
    """Return the sum of each channel and the sum of all squares; float32 within a sample's channel, float64 beyond."""
    channel_dim %= activation.ndim
    places = [dim for dim in range(1, activation.ndim) if dim != channel_dim]
    channel_sums = activation.sum(places, dtype=torch.float32) if places else activation.float()  # (samples, channels)
    # If channels are innermost, the norm of each channel takes eight times as long as the norm of the whole sample.
    apart = places and activation.stride(channel_dim) != 1
    together = places if apart else list(range(1, activation.ndim))
    norms = torch.linalg.vector_norm(activation, dim=together, dtype=torch.float32)
    return channel_sums.sum(0, dtype=torch.float64), torch.linalg.vector_norm(norms, dtype=torch.float64).item() ** 2


def _squares_about(piece: Tensor, mean: float) -> float:
    return float(torch.linalg.vector_norm(piece.double() - mean)) ** 2


def merge_moments(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_moments`, ``(parts, size)``, exactly: Chan, Golub and LeVeque 1979."""
    n = vectors[:, 0]
    weights = n / n.sum().clamp_min(1)
    mean = weights @ vectors[:, 1]
    squares = vectors[:, 2].sum() + n @ (vectors[:, 1] - mean).square()
    head = torch.stack([n.sum(), mean, squares, vectors[:, 3].sum()])
    return torch.cat([head, weights @ vectors[:, HEAD:]])


def _vectors(heads: np.ndarray, means: np.ndarray, channels: np.ndarray) -> Sequence[Tensor]:
    """Combine ``heads``, ``(4, activations)``, and ``means``, one activation after the other, into vectors."""
    starts = np.cumsum(channels) - channels
    places = starts + HEAD * np.arange(len(channels)) + np.arange(HEAD)[:, None]
    vectors = np.empty(len(means) + heads.size)
    vectors[places] = heads
    vectors[np.arange(len(means)) + HEAD * (1 + np.repeat(np.arange(len(channels)), channels))] = means
    return torch.from_numpy(vectors).split((channels + HEAD).tolist())


def activation_statistics(vectors: list[Tensor]) -> Tensor:
    """Return mean, variance, non-finite count and rms, ``(4, layers)``; no elements: NaN, NaN, 0, NaN."""
    n, mean, squares, nonfinite = heads(vectors)
    present = torch.where(n > 0, 1.0, torch.nan)
    return torch.stack([mean * present, squares / n, nonfinite, (squares / n + mean.square()).sqrt()])


def heads(vectors: list[Tensor]) -> Tensor:
    """Return the entries of vectors that do not belong to a channel, ``(4, layers)``."""
    return torch.stack([vector[:HEAD] for vector in vectors], dim=1)


MOMENTS = Reducer(begin_moments, merge_moments, finish=finish_moments, head=HEAD)

OUTPUT = "output of the module, before the nonlinearity; of complex outputs, real and imaginary parts"

ACTIVATION_MOMENTS = Metric(
    "activation_moments",
    "activations",
    "activation_moments",
    activation_statistics,
    (
        Column("activation_mean", "1", "sum(x) / n", OUTPUT),
        Column("activation_var", "1", "sum((x - mean)^2) / n", OUTPUT),
        Column("activation_nonfinite", "elements", "count of NaN and infinite elements", OUTPUT, type=pa.int64()),
        Column("activation_rms", "1", "sqrt(sum(x^2) / n)", OUTPUT),
    ),
    reducer=MOMENTS,
)
