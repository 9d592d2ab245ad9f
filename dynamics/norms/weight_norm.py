"""Weight normalisation, ``W = g V / |V|`` per output channel, alone and with mean-only batch norm."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations

from dynamics.norms.mean_spectral_norm import centring
from dynamics.norms.norm import Norm
from dynamics.norms.weight_matrix import output_dimension


def weight_norm(layer: nn.Module) -> nn.Module:
    """Learn length and direction of each output channel's weights separately, by torch's own weight norm.

    Raises:
        TypeError: The module is no linear or convolution layer.

    Source: Salimans and Kingma 2016, Eq. 2.
    """
    return parametrizations.weight_norm(layer, dim=output_dimension(layer))


WEIGHT_NORM = Norm("wn", source="Salimans and Kingma 2016, Eq. 2", weight=weight_norm)
MEAN_WEIGHT_NORM = Norm(
    "wn_mean",
    source="Salimans and Kingma 2016, Eq. 2 and section 2.3",
    weight=weight_norm,
    module=centring,
    once=True,
)
