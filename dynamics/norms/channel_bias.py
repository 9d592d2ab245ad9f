"""A learned number added to each channel: the m of Eq. 7 where the mean was taken elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.mean_centring import channel_view


class ChannelBias(nn.Module):
    """``h + m`` per channel, in place: for a copy of channels that were centred where they were made.

    Args:
        num_features: Channels.

    Raises:
        ValueError: The input is not ``(N, num_features, ...)``.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return h, overwritten."""
        if h.ndim < 2 or h.shape[1] != self.num_features:
            raise ValueError(f"ChannelBias: expected (N, {self.num_features}, ...), got {tuple(h.shape)}")
        return h.add_(channel_view(self.bias, like=h))

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return str(self.num_features)
