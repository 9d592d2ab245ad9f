"""LeakyReLU with the paper's slope, in place."""

from __future__ import annotations

from torch import nn

NEGATIVE_SLOPE = 0.1  # slope of every LeakyReLU, as in the paper's models


class LeakyReLU(nn.LeakyReLU):
    """``max(x, slope x)`` with slope 0.1. It overwrites its input.

    Source: Maas et al. 2013; slope and use as in the paper's models.
    """

    def __init__(self) -> None:
        super().__init__(NEGATIVE_SLOPE, inplace=True)
