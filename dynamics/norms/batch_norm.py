"""Batch normalisation for any number of spatial dimensions (Eq. 1)."""

from __future__ import annotations

from torch import nn

from dynamics.norms.norm import Norm

BATCH_NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def batch_norm(channels: int, dimensions: int) -> nn.Module:
    """Return torch's batch norm over ``(N, channels)`` or ``(N, channels, ...)``, ``dimensions`` of space, 0 to 3."""
    return BATCH_NORMS[dimensions](channels)


BATCH_NORM = Norm("bn", source="Ioffe and Szegedy 2015; Eq. 1", module=batch_norm)
