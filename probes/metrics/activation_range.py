"""Dead channels and saturated entries of pre-activations."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer, channel_planes, channels_last_rows, count
from probes.schema import Column

SATURATED = 3.0  # tanh has less than 1 % of its slope there
_HEAD = 2  # n, saturated entries; the channel maxima stand behind


def reduce_range(activation: Tensor, channel_dim: int) -> Tensor:
    """Return ``[n, entries with |x| > 3, channel maxima...]`` in float64; no elements give 0, 0 and -inf."""
    if not activation.numel():
        channels = channel_planes(activation, channel_dim).shape[1]
        return torch.tensor([0.0, 0.0] + [-torch.inf] * channels, dtype=torch.float64, device=activation.device)
    saturated = count(_lies_beyond, activation, SATURATED).reshape(1)
    maxima = _channel_maxima(activation, channel_dim).double()
    return torch.cat([torch.full_like(saturated, activation.numel()), saturated, maxima])


def _lies_beyond(x: Tensor, bound: float, *, out: Tensor | None = None) -> Tensor:
    magnitudes = torch.abs(x, out=out)
    return torch.gt(magnitudes, bound, out=out)


def _channel_maxima(activation: Tensor, channel_dim: int) -> Tensor:
    rows = channels_last_rows(activation, channel_dim)
    if rows is None or not activation.ndim:
        return channel_planes(activation, channel_dim).amax(2).amax(0)
    # Whole samples side by side first: torch takes maxima of few columns one number at a time.
    return rows.view(len(activation), -1).amax(0).view(-1, rows.shape[1]).amax(0)


def merge_range(vectors: Tensor) -> Tensor:
    """Merge the vectors of :func:`reduce_range`, ``(parts, size)``: counts add, maxima do not."""
    seen = torch.where(vectors[:, :1] > 0, vectors[:, _HEAD:], -torch.inf)
    return torch.cat([vectors[:, :_HEAD].sum(0), seen.amax(0)])


def range_shares(vectors: list[Tensor]) -> Tensor:
    """Return the dead fraction and the saturated fraction: ``(2, layers)``.

    A channel is dead where no entry of the whole batch is above 0: a ReLU behind it passes nothing on, forward or
    backward. A channel with a NaN gives a NaN dead fraction. No elements: NaN.
    """
    n = torch.stack([vector[0] for vector in vectors])
    saturated = torch.stack([vector[1] for vector in vectors]) / n
    dead = torch.stack([_dead_share(vector[_HEAD:]) for vector in vectors])
    return torch.stack([torch.where(n > 0, dead, torch.nan), saturated])


def _dead_share(maxima: Tensor) -> Tensor:
    return torch.where(maxima.isnan(), torch.nan, (maxima <= 0).double()).mean()


RANGE = Reducer(reduce_range, merge_range)

_OUTPUT = "output of the module, before the nonlinearity"

ACTIVATION_RANGE = Metric(
    "activation_range",
    "saturation",
    "activation_range",
    range_shares,
    (
        Column("dead_fraction", "1", "share of channels whose largest entry in the batch is <= 0", _OUTPUT),
        Column("saturated_fraction", "1", "share of entries with |x| > 3", _OUTPUT),
    ),
    min_steps_between=10,
    reducer=RANGE,
)
