"""Mean, variance and mean drift of pre-activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, pieces
from probes.schema import Column, pa

_HEAD = 4  # n, mean, sum of squared deviations, non-finite entries; the channel means stand behind
_SAFE = 1e-26  # mean square below which the squares of smaller elements are lost in float32
_CANCELLATION = 64.0  # mean^2 / var beyond which one pass in float32 loses more than two digits


class PartialMoments(NamedTuple):
    """What is left of an activation, and makes its vector together with those of other layers."""

    n: int
    mean: float
    squares: float  # about the mean
    nonfinite: int
    channel_sums: Tensor  # float64


def reduce_moments(activation: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, mean, sum((x - mean)^2), nonfinite, channel means...]`` in float64.

    On the CPU: one pass of partial sums in float32, combined in float64, and a second pass only where the mean is so
    large that the difference of squares would cancel, or the squares are too small for float32. Elsewhere Welford's
    method, which needs no look at the data; its variance is off by about ``(1e-7 mean)^2``. No elements give zeros.
    """
    found = begin_moments(activation, channel_dim)
    return found if isinstance(found, Tensor) else finish_moments([found])[0]


def begin_moments(activation: Tensor, channel_dim: int) -> Tensor | PartialMoments:
    """Begin :func:`reduce_moments`: return its vector, or what :func:`finish_moments` makes the vector of.

    The latter on the CPU, except in float64: a call of torch or NumPy between two layers finds its code gone from the
    caches, so few are made here and the others for all layers together.
    """
    if activation.ndim < 2:
        activation = activation.reshape(1, -1)
    if not activation.numel():
        return torch.zeros(_HEAD + activation.shape[channel_dim], dtype=torch.float64, device=activation.device)
    if activation.device.type == "cpu" and activation.dtype != torch.float64:
        return _from_partial_sums(activation, channel_dim)
    return _from_channel_variances(activation, channel_dim)


def finish_moments(partial: Sequence[PartialMoments]) -> Sequence[Tensor]:
    """Return the vectors of :func:`reduce_moments` of several activations, of any sizes."""
    n, mean, squares, nonfinite, channel_sums = zip(*partial, strict=True)
    channels = np.array([len(sums) for sums in channel_sums])
    means = torch.cat(channel_sums).numpy() / np.repeat(np.array(n) / channels, channels)
    return _vectors(np.array([n, mean, squares, nonfinite], dtype=np.float64), means, channels)


def _from_channel_variances(activation: Tensor, channel_dim: int) -> Tensor:
    wide = activation if activation.dtype == torch.float64 else activation.float()
    planes = channel_planes(wide, channel_dim)
    variances, means = (m.double() for m in torch.var_mean(planes, dim=(0, 2), correction=0))
    mean = means.mean()
    squares = (variances + (means - mean).square()).mean() * activation.numel()
    nonfinite = activation.numel() - torch.count_nonzero(activation.isfinite())
    head = torch.stack([torch.full_like(mean, activation.numel()), mean, squares, nonfinite.double()])
    return torch.cat([head, means])


def _from_partial_sums(activation: Tensor, channel_dim: int) -> PartialMoments:
    channel_sums, squares = _partial_sums(activation, channel_dim)
    n, total = activation.numel(), channel_sums.sum().item()
    mean = total / n
    nonfinite = 0
    if not math.isfinite(total):
        nonfinite = n - sum(int(torch.count_nonzero(piece.isfinite())) for piece in pieces(activation))
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
    # Where channels are innermost, the norm of each channel takes eight times as long as that of the whole sample.
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
    return torch.cat([head, weights @ vectors[:, _HEAD:]])


def _vectors(heads: np.ndarray, means: np.ndarray, channels: np.ndarray) -> Sequence[Tensor]:
    """Put together the vectors of some activations, ``heads`` ``(4, activations)`` and ``means`` one after another."""
    starts = np.cumsum(channels) - channels
    places = starts + _HEAD * np.arange(len(channels)) + np.arange(_HEAD)[:, None]
    vectors = np.empty(len(means) + heads.size)
    vectors[places] = heads
    vectors[np.arange(len(means)) + _HEAD * (1 + np.repeat(np.arange(len(channels)), channels))] = means
    return torch.from_numpy(vectors).split((channels + _HEAD).tolist())


def activation_statistics(vectors: list[Tensor], first: list[Tensor | None]) -> tuple[Tensor, list[Tensor]]:
    """Return mean, variance, non-finite count and mean drift, ``(4, layers)``, and the first record's vectors.

    ``drift = sqrt(mean_c (mu_c - mu_c(first))^2)`` over channels ``c``: the root mean square shift of the channel means
    since the first record; 0 there, and where the first had another number of channels. No elements: NaN, NaN, 0, NaN.
    """
    references = [
        vector if old is None or len(old) != len(vector) else old for vector, old in zip(vectors, first, strict=True)
    ]
    sizes = tuple(len(vector) for vector in vectors)
    heads, owners, channels = _layout(sizes, vectors[0].device)
    now = torch.cat(vectors)
    shifts = (now - torch.cat(references).to(now.device, non_blocking=True)).square()
    sums = now.new_zeros(len(vectors) + 1).index_add_(0, owners, shifts)[:-1]  # the last collects the heads
    n, mean, squares, nonfinite = now[heads].unbind()
    present = torch.where(n > 0, 1.0, torch.nan)
    return torch.stack([mean * present, squares / n, nonfinite, (sums / channels).sqrt() * present]), references


@lru_cache(maxsize=8)
def _layout(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the heads of vectors in one row are, whose each entry is, and how many channels each has."""
    starts = np.cumsum(sizes) - sizes
    heads = starts + np.arange(_HEAD)[:, None]  # (4, layers)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    owners[heads] = len(sizes)
    parts = heads, owners, np.array(sizes) - _HEAD
    on_device = [torch.from_numpy(part).to(device, non_blocking=True) for part in parts]
    return on_device[0], on_device[1], on_device[2]


MOMENTS = Reducer(begin_moments, merge_moments, finish=finish_moments)

_OUTPUT = "output of the module, before the nonlinearity"

ACTIVATION_MOMENTS = Metric(
    "activation_moments",
    "activations",
    "activation_moments",
    activation_statistics,
    (
        Column("activation_mean", "1", "sum(x) / n", _OUTPUT),
        Column("activation_var", "1", "sum((x - mean)^2) / n", _OUTPUT),
        Column("activation_nonfinite", "elements", "count of NaN and infinite elements", _OUTPUT, type=pa.int64()),
        Column(
            "activation_drift",
            "1",
            "sqrt(mean_c (mu_c - mu_c at the first record)^2), mu_c the mean of channel c. Behind mean-centring or "
            "batch norm in training mode mu_c is their m or beta: this is the rms of its change",
            _OUTPUT,
            "the paper's mean drift",
        ),
    ),
    keeps_state=True,
    reducer=MOMENTS,
)
