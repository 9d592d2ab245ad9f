"""The positions of each layer's numbers when the vectors of all layers are concatenated."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class ChannelLayout(NamedTuple):
    """Positions in vectors of a head, whose entries belong to no channel, followed by one entry for each channel.

    Attributes:
        heads: Positions of the heads' entries, ``(head, layers)``.
        places: Positions of the channels' entries, ``(channels,)``.
        owners: The layer of each channel, ``(channels,)``.
        channels: Number of channels of each layer, ``(layers,)``.
    """

    heads: Tensor
    places: Tensor
    owners: Tensor
    channels: Tensor


@lru_cache(maxsize=16)
def channel_layout(channels: tuple[int, ...], head: int, device: torch.device) -> ChannelLayout:
    """Return the layout, on a device, of vectors with these numbers of channels after heads of one length."""
    counts = np.array(channels, dtype=np.int64)
    starts = np.cumsum(counts + head) - counts - head
    owners = np.repeat(np.arange(len(counts)), counts)
    heads = starts + np.arange(head)[:, None]
    places = np.arange(counts.sum()) + head * (1 + owners)
    on_device = [torch.from_numpy(part).to(device, non_blocking=True) for part in (heads, places, owners, counts)]
    return ChannelLayout(*on_device)


@lru_cache(maxsize=16)
def numbers(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return counts as float64 on a device, ``(layers,)``.

    The tensor is cached and must not be changed.
    """
    return torch.tensor(counts, dtype=torch.float64, device="cpu").to(device, non_blocking=True)
