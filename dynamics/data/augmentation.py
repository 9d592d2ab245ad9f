"""Random crops and flips of a whole batch at once, on its device.

The random numbers of an epoch are drawn together before the epoch, from a generator of their own. Batch k of epoch e is
thus a pure function of (seed, e, k): a resumed run gets the same images as an uninterrupted run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels, as in the paper's released scripts

AUGMENTATIONS = ("none", "crop", "crop-flip")


@dataclass(frozen=True)
class Draws:
    """The random numbers of each image: the position of its crop, and whether it is mirrored.

    Attributes:
        rows: First row of the crop in the padded image, 0 to 2 * PADDING, ``(n,)``.
        columns: First column of the crop, 0 to 2 * PADDING, ``(n,)``.
        mirrored: True for an image whose left and right are swapped, ``(n,)``.
    """

    rows: Tensor
    columns: Tensor
    mirrored: Tensor

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.rows[index], self.columns[index], self.mirrored[index])

    def to(self, device: torch.device) -> Self:
        """Return the same draws on a device."""
        return type(self)(self.rows.to(device), self.columns.to(device), self.mirrored.to(device))


def draw(count: int, *, flip: bool, generator: torch.Generator) -> Draws:
    """Draw a crop for each of ``count`` images; with ``flip`` each is mirrored with probability 1/2."""
    rows, columns = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
    # The coins are drawn without flip too, so that the crops are the same with and without flip.
    coins = torch.rand(count, generator=generator) < 0.5
    return Draws(rows, columns, coins & flip)


def pad(pixels: Tensor) -> Tensor:
    """Return images with PADDING black pixels on every side: ``(n, c, h, w)`` to ``(n, c, h + 8, w + 8)``."""
    return F.pad(pixels, (PADDING,) * 4)


def crop(padded: Tensor, index: Tensor, draws: Draws) -> Tensor:
    """Return the crops of the images at ``index``: ``(len(index), channels, height, width)``.

    Args:
        padded: The whole set, padded by :func:`pad`.
        index: Positions in the set, ``(batch,)``.
        draws: The draws of those images, ``(batch,)`` each.
    """
    channels, height, width = padded.shape[1], padded.shape[2] - 2 * PADDING, padded.shape[3] - 2 * PADDING
    along = torch.arange(width, device=padded.device).expand(len(index), width)
    along = torch.where(draws.mirrored[:, None], width - 1 - along, along)
    rows = draws.rows[:, None] + torch.arange(height, device=padded.device)  # (batch, height)
    columns = draws.columns[:, None] + along  # (batch, width)
    channel = torch.arange(channels, device=padded.device)
    # One gather from the whole set: no padded or mirrored copy of the batch is made.
    return padded[index[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
