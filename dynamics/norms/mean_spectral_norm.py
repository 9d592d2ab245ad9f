"""Mean spectral normalisation, the paper's method: a weight of norm 1, an output with a learned mean (Eq. 6, 7)."""

from __future__ import annotations

from torch import nn

from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.norm import Norm
from dynamics.norms.spectral_norm import spectral_norm


def centring(channels: int, _dimensions: int) -> nn.Module:
    """Return ``h - E[h] + m``, which overwrites the output of the layer before it."""
    return MeanCentring(channels, inplace=True)


def centring_where_made(channels: int, _dimensions: int) -> nn.Module:
    """Return ``h - E[h]``, for channels that many layers read."""
    return MeanCentring(channels, bias=False, inplace=True)


def bias_where_read(channels: int, _dimensions: int) -> nn.Module:
    """Return ``h + m``, for each of those layers."""
    return ChannelBias(channels)


MEAN_SPECTRAL_NORM = Norm(
    "msn",
    source="Eq. 6, 7",
    weight=spectral_norm,
    module=centring,
    producer=centring_where_made,
    reader=bias_where_read,
)
