"""Mean drift of pre-activations: how far the means of the channels have moved since the first record."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.activation_moments import HEAD, MOMENTS, OUTPUT
from probes.metrics.channel_layout import channel_layout
from probes.metrics.metric import Metric
from probes.schema import Column


def mean_drift(vectors: list[Tensor], first: list[Tensor | None]) -> tuple[Tensor, list[Tensor]]:
    """Return the mean drift, ``(1, layers)``, from vectors of ``activation_moments``, and the first record's vectors.

    ``drift = sqrt(mean_c (mu_c - mu_c(first))^2)`` over channels ``c``: the root mean square shift of the channel means
    since the first record. It is 0 at the first record, and if the first record had a different number of channels. No
    elements give NaN.
    """
    references = [
        vector if old is None or len(old) != len(vector) else old for vector, old in zip(vectors, first, strict=True)
    ]
    channels = tuple(len(vector) - HEAD for vector in vectors)
    heads, places, owners, counts = channel_layout(channels, HEAD, vectors[0].device)
    now = torch.cat(vectors)
    shifts = (now - torch.cat(references).to(now.device, non_blocking=True))[places].square()
    sums = now.new_zeros(len(vectors)).index_add_(0, owners, shifts)
    present = torch.where(now[heads[0]] > 0, 1.0, torch.nan)
    return ((sums / counts).sqrt() * present).unsqueeze(0), references


def has_channels(vector: Tensor) -> bool:
    """Return whether the means of the channels are known.

    They are not if outputs had different numbers of channels.
    """
    return len(vector) > HEAD


ACTIVATION_DRIFT = Metric(
    "activation_drift",
    "activations",
    "activation_moments",
    mean_drift,
    (
        Column(
            "activation_drift",
            "1",
            "sqrt(mean_c (mu_c - mu_c at the first record)^2), mu_c the mean of channel c; null where the module's"
            " outputs have unlike numbers of channels. Behind mean-centring or batch norm in training mode mu_c is"
            " their m or beta: this is the rms of its change",
            OUTPUT,
            "the paper's mean drift",
        ),
    ),
    keeps_state=True,
    reducer=MOMENTS,
    applies=has_channels,
)
