"""Mean spectral normalisation, the paper's method: weights of spectral norm 1, outputs of learned mean (Eq. 6, 7)."""

from __future__ import annotations

from torch import nn

from dynamics.norms.mean_centring import MeanCentring
from dynamics.norms.norm import Norm
from dynamics.norms.spectral.spectral_norm import spectral_norm


def centring(channels: int, _dimensions: int) -> nn.Module:
    """Return ``h - E[h] + m``, which overwrites the output of the layer before it."""
    return MeanCentring(channels, inplace=True)


MEAN_SPECTRAL_NORM = Norm("msn", source="Eq. 6, 7", weight=spectral_norm, module=centring, once=True)
