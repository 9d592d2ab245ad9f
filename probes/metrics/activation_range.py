"""Saturated entries of pre-activations, and the largest entry of each channel."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.activation_moments import OUTPUT
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, channels_last_rows, count
from probes.schema import Column

SATURATED = 3.0  # tanh has less than 1 % of its slope there
HEAD = 2  # n, saturated entries; the channel maxima stand behind


def reduce_range(activation: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, entries with |x| > 3, channel maxima...]`` in float64; no elements give 0, 0 and -inf."""
    if activation.ndim < 2:
        activation, channel_dim = activation.reshape(1, -1), 1
    if not activation.numel():
        channels = activation.shape[channel_dim]
        return torch.tensor([0.0, 0.0] + [-torch.inf] * channels, dtype=torch.float64, device=activation.device)
    saturated = count(_lies_beyond, activation, SATURATED).reshape(1)
    maxima = _channel_maxima(activation, channel_dim).double()
    return torch.cat([torch.full_like(saturated, activation.numel()), saturated, maxima])


def _lies_beyond(x: Tensor, bound: float, *, out: Tensor | None = None) -> Tensor:
    magnitudes = torch.abs(x, out=out)
    return torch.gt(magnitudes, bound, out=out)


def _channel_maxima(activation: Tensor, channel_dim: int) -> Tensor:
    rows = channels_last_rows(activation, channel_dim)
    if rows is None:
        return channel_planes(activation, channel_dim).amax(2).amax(0)
    # Whole samples side by side first: torch takes maxima of few columns one number at a time.
    return rows.view(len(activation), -1).amax(0).view(-1, rows.shape[1]).amax(0)


def merge_range(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_range`, ``(parts, size)``: counts add, maxima do not."""
    seen = torch.where(vectors[:, :1] > 0, vectors[:, HEAD:], -torch.inf)
    return torch.cat([vectors[:, :HEAD].sum(0), seen.amax(0)])


def saturated_share(vectors: list[Tensor]) -> Tensor:
    """Return the share of saturated entries, ``(1, layers)``; no elements: NaN."""
    n, saturated = torch.stack([vector[:HEAD] for vector in vectors]).unbind(1)
    return (saturated / n).unsqueeze(0)


RANGE = Reducer(reduce_range, merge_range, head=HEAD)

ACTIVATION_RANGE = Metric(
    "activation_range",
    "saturation",
    "activation_range",
    saturated_share,
    (Column("saturated_fraction", "1", "share of entries with |x| > 3", OUTPUT),),
    min_steps_between=10,
    reducer=RANGE,
)
