"""Instance normalisation: batch norm's formula separately for each channel of each sample."""

from __future__ import annotations

from torch import nn

from dynamics.norms.norm import Norm

INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def instance_norm(channels: int, dimensions: int) -> nn.Module:
    """Return torch's instance norm with a scale and a shift per channel.

    Raises:
        ValueError: There are no spatial dimensions: a channel has a single value, which is its own mean.

    Source: Ulyanov, Vedaldi and Lempitsky 2016, Eq. 4.
    """
    if dimensions not in INSTANCE_NORMS:
        raise ValueError(f"instance norm needs 1 to 3 dimensions of space to average over, got {dimensions}")
    return INSTANCE_NORMS[dimensions](channels, affine=True)


INSTANCE_NORM = Norm("in", source="Ulyanov, Vedaldi and Lempitsky 2016, Eq. 4", module=instance_norm)
