"""Dead channels of pre-activations: a rectifier silences them for the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.activation_moments import OUTPUT
from probes.metrics.activation_range import HEAD, RANGE
from probes.metrics.channel_layout import channel_layout
from probes.metrics.metric import Metric
from probes.schema import Column


def dead_share(vectors: list[Tensor]) -> Tensor:
    """Return the share of dead channels, ``(1, layers)``, from the vectors of ``activation_range.reduce_range``.

    A channel is dead if no entry of the whole batch is above 0. A ReLU after it then passes on only zeros, forward and
    backward. A channel with a NaN gives a NaN dead fraction. No elements: NaN.
    """
    channels = tuple(len(vector) - HEAD for vector in vectors)
    heads, places, owners, counts = channel_layout(channels, HEAD, vectors[0].device)
    numbers = torch.cat(vectors)
    maxima = numbers[places]
    dead = torch.where(maxima.isnan(), torch.nan, (maxima <= 0).double())
    shares = numbers.new_zeros(len(vectors)).index_add_(0, owners, dead) / counts
    return torch.where(numbers[heads[0]] == 0, torch.nan, shares).unsqueeze(0)


def has_channels(vector: Tensor) -> bool:
    """Return whether the channels' maxima are known.

    They are not if outputs had different numbers of channels.
    """
    return len(vector) > HEAD


DEAD_CHANNELS = Metric(
    "dead_channels",
    "saturation",
    "activation_range",
    dead_share,
    (
        Column(
            "dead_fraction",
            "1",
            "share of channels whose largest entry in the batch is <= 0; null where the module's outputs have unlike"
            " numbers of channels",
            OUTPUT,
        ),
    ),
    min_steps_between=10,
    reducer=RANGE,
    applies=has_channels,
)
