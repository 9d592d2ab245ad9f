"""Where the numbers of each layer stand in the vectors of all layers, one behind the other."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class ChannelLayout(NamedTuple):
    """The places in vectors that have a head, whose entries belong to no channel, and an entry a channel behind it.

    Attributes:
        heads: Places of the heads' entries, ``(head, layers)``.
        places: Places of the channels' entries, ``(channels,)``.
        owners: The layer of each channel, ``(channels,)``.
        channels: How many channels each layer has, ``(layers,)``.
    """

    heads: Tensor
    places: Tensor
    owners: Tensor
    channels: Tensor


@lru_cache(maxsize=16)
def channel_layout(channels: tuple[int, ...], head: int, device: torch.device) -> ChannelLayout:
    """Return the layout of vectors of so many channels behind heads of one length, on a device."""
    counts = np.array(channels, dtype=np.int64)
    starts = np.cumsum(counts + head) - counts - head
    owners = np.repeat(np.arange(len(counts)), counts)
    heads = starts + np.arange(head)[:, None]
    places = np.arange(counts.sum()) + head * (1 + owners)
    on_device = [torch.from_numpy(part).to(device, non_blocking=True) for part in (heads, places, owners, counts)]
    return ChannelLayout(*on_device)


@lru_cache(maxsize=16)
def numbers(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return counts as float64 on a device, ``(layers,)``; the same tensor each time, not to be changed."""
    return torch.tensor(counts, dtype=torch.float64, device="cpu").to(device, non_blocking=True)
