"""Dead channels of pre-activations: those that a rectifier silences for the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.activation_moments import OUTPUT
from probes.metrics.activation_range import HEAD, RANGE
from probes.metrics.metric import Metric
from probes.schema import Column


def dead_share(vectors: list[Tensor]) -> Tensor:
    """Return the share of dead channels, ``(1, layers)``, of the vectors of ``activation_range.reduce_range``.

    A channel is dead where no entry of the whole batch is above 0: a ReLU behind it passes nothing on, forward or
    backward. A channel with a NaN gives a NaN dead fraction. No elements: NaN.
    """
    return torch.stack([_dead_share(vector) for vector in vectors]).unsqueeze(0)


def has_channels(vector: Tensor) -> bool:
    """Return whether the channels' maxima are known: not where outputs had unlike numbers of channels."""
    return len(vector) > HEAD


def _dead_share(vector: Tensor) -> Tensor:
    maxima = vector[HEAD:]
    unknown = maxima.isnan() | (vector[0] == 0)
    return torch.where(unknown, torch.nan, (maxima <= 0).double()).mean()


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
