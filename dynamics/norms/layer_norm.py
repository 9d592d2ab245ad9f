"""Layer normalisation of channels and space together, with a scale and a shift per channel."""

from __future__ import annotations

from torch import nn

from dynamics.norms.norm import Norm


def layer_norm(channels: int, _dimensions: int) -> nn.Module:
    """Return ``(h - E[h]) / sqrt(Var[h] + eps)`` with moments over all channels and pixels of one sample.

    It is group norm with one group. nn.LayerNorm would learn a scale and a shift for every pixel and fix the image
    size.

    Source: Ba, Kiros and Hinton 2016, Eq. 3; for images Wu and He 2018.
    """
    return nn.GroupNorm(1, channels)


LAYER_NORM = Norm("ln", source="Ba, Kiros and Hinton 2016, Eq. 3", module=layer_norm)
