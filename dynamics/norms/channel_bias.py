"""A learned shift of each channel: a norm without mean and scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.mean_centring import channel_view


class ChannelBias(nn.Module):
    """``h + m`` per channel: the shift of a norm whose mean is taken elsewhere, or not at all.

    Args:
        num_features: Channels.
        inplace: Overwrite the input, which must be nobody else's.

    Raises:
        ValueError: The input is not ``(N, num_features, ...)``.
    """

    def __init__(self, num_features: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.num_features, self.inplace = num_features, inplace
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, h: Tensor) -> Tensor:
        """Return ``h + m``."""
        # A tracer takes sizes for tensors, and warns of questions about them.
        if not torch.jit.is_tracing() and (h.ndim < 2 or h.shape[1] != self.num_features):
            raise ValueError(f"ChannelBias: expected (N, {self.num_features}, ...), got {tuple(h.shape)}")
        m = channel_view(self.bias, like=h)
        return h.add_(m) if self.inplace else (h + m).to(h.dtype)

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return str(self.num_features)
