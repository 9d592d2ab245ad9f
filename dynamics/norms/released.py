"""The norms of the authors' released scripts, which differ from Eq. 6 and 7."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.norms.mean_centring import MeanCentring, channel_view
from dynamics.norms.norm import Norm
from dynamics.norms.spectral.power_iteration import EPS, iterate
from dynamics.norms.weight_matrix import output_dimension, unfold_weight

POWER_ITERATIONS = 100


def released_spectral_norm(layer: nn.Module) -> nn.Module:
    """Project a layer's weight onto sigma = 1 before every forward, and return the layer.

    After 100 power iterations the stored weight itself becomes W / sigma, in training and in evaluation. No gradient
    flows through sigma, unlike in Eq. 8 and 9. The layer also gets the scripts' scalar parameter ``renorm``. No
    computation reads it and it gets no gradient, but Table III counts it.

    Raises:
        TypeError: The module is no linear or convolution layer.
    """
    dim = output_dimension(layer)
    matrix = unfold_weight(cast(Tensor, layer.weight).detach(), dim=dim)
    layer.register_buffer("released_u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
    layer.register_buffer("released_v", F.normalize(matrix.new_empty(matrix.shape[1]).normal_(), dim=0))
    layer.register_parameter("renorm", nn.Parameter(matrix.new_ones(1)))
    layer.register_forward_pre_hook(_project)
    return layer


def _project(layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
    # .data, as in the scripts: without it the backward of D(real) would raise after the projection before D(fake).
    weight = cast(Tensor, layer.weight).data
    matrix = unfold_weight(weight, dim=output_dimension(layer))
    u, v = cast(Tensor, layer.released_u), cast(Tensor, layer.released_v)
    for _ in range(POWER_ITERATIONS):
        sigma = iterate(matrix, u, v)
    weight.div_(sigma.clamp_min(EPS))


class ReleasedMeanCentring(nn.Module):
    """``(h - E[h]) * weight + bias``: the scripts keep batch norm's scale, while Eq. 7 has only m.

    Training subtracts the batch mean, evaluation a running mean of momentum 0.1.

    Args:
        num_features: Channels.

    Raises:
        ValueError: As :class:`~dynamics.norms.mean_centring.MeanCentring`.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.centring = MeanCentring(num_features, bias=False, momentum=0.1)
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return h centred, scaled and shifted."""
        return self.centring(h) * channel_view(self.weight, like=h) + channel_view(self.bias, like=h)


def _released_centring(channels: int, _dimensions: int) -> nn.Module:
    return ReleasedMeanCentring(channels)


RELEASED_SPECTRAL_NORM = Norm("released_sn", source="the released scripts", weight=released_spectral_norm)
RELEASED_MEAN_SPECTRAL_NORM = Norm(
    "released_msn", source="the released scripts", weight=released_spectral_norm, module=_released_centring
)
