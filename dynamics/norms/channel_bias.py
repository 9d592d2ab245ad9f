"""A learned shift of each channel, without a mean and a scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.mean_centring import channel_view, checked_channel_dim, expected_shape, has_channels


class ChannelBias(nn.Module):
    """``h + m`` per channel: the shift of a norm that subtracts no mean, or whose mean is already subtracted.

    Args:
        num_features: Channels.
        channel_dim: Dimension of the channels: 1, or -1 for sequences, ``(batch, time, channel)``.
        inplace: Overwrite the input, which no other operation may use.

    Raises:
        ValueError: The input does not have ``num_features`` channels in ``channel_dim``, or ``channel_dim`` is 0.
    """

    def __init__(self, num_features: int, *, channel_dim: int = 1, inplace: bool = False) -> None:
        super().__init__()
        self.num_features, self.inplace = num_features, inplace
        self.channel_dim = checked_channel_dim(channel_dim)
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return ``h + m``."""
        # A tracer makes sizes tensors, and warns when Python compares them.
        if not torch.jit.is_tracing() and not has_channels(h, self.num_features, self.channel_dim):
            expected = expected_shape(self.num_features, self.channel_dim)
            raise ValueError(f"ChannelBias: expected {expected}, got {tuple(h.shape)}")
        m = channel_view(self.bias, like=h, dim=self.channel_dim)
        return h.add_(m) if self.inplace else (h + m).to(h.dtype)

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return (
            str(self.num_features) if self.channel_dim == 1 else f"{self.num_features}, channel_dim={self.channel_dim}"
        )
