"""Mean and variance of pre-activations, and the mean of each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, pieces
from probes.schema import Column, pa

HEAD = 4  # n, mean, sum of squared deviations, non-finite entries; the channel means stand behind
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
    large that the difference of squares would cancel, or the squares are too small or too large for float32. Elsewhere
    Welford's method, which needs no look at the data; its variance is off by about ``(1e-7 mean)^2``, and infinite for
    entries beyond 1e18. No elements give zeros.
    """
    found = begin_moments(activation, channel_dim)
    return found if isinstance(found, Tensor) else finish_moments([found])[0]


def begin_moments(activation: Tensor, channel_dim: int) -> Tensor | PartialMoments:
    """Begin :func:`reduce_moments`: return its vector, or what :func:`finish_moments` makes the vector of.

    The latter on the CPU, except in float64 or where float64 is needed: a call of torch or NumPy between two layers
    finds its code gone from the caches, so few are made here and the others for all layers together.
    """
    if activation.ndim < 2:
        activation, channel_dim = activation.reshape(1, -1), 1
    if not activation.numel():
        return torch.zeros(HEAD + activation.shape[channel_dim], dtype=torch.float64, device=activation.device)
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


def _from_partial_sums(activation: Tensor, channel_dim: int) -> PartialMoments | Tensor:
    channel_sums, squares = _partial_sums(activation, channel_dim)
    n, total = activation.numel(), channel_sums.sum().item()
    mean = total / n
    nonfinite = 0
    if not math.isfinite(total) or math.isinf(squares):
        nonfinite = n - sum(int(torch.count_nonzero(piece.isfinite())) for piece in pieces(activation))
        if not nonfinite:  # only the sums are beyond float32
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
    return torch.cat([head, weights @ vectors[:, HEAD:]])


def _vectors(heads: np.ndarray, means: np.ndarray, channels: np.ndarray) -> Sequence[Tensor]:
    """Put together the vectors of some activations, ``heads`` ``(4, activations)`` and ``means`` one after another."""
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
