"""Conversion between 8-bit images and the 32x32 floats in -1..1 that the GANs use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from dynamics.data.images import DataSet, Images

SIZE = 32  # height and width of the released generator's images: 4 -> 8 -> 16 -> 32


def padded(data: DataSet) -> DataSet:
    """Return the data set with a black border that makes its images 32x32 (digits are 28x28).

    Raises:
        ValueError: The images are larger than 32x32, or the border would have different widths on its sides.
    """
    border, odd = divmod(SIZE - data.image_size, 2)
    if border < 0 or odd:
        raise ValueError(
            f"{data.name}: images of {data.image_size}x{data.image_size}; expected {SIZE}x{SIZE}, or an even number of "
            "pixels less, which get a black border. Resize them beforehand."
        )

    def pad(images: Images) -> Images:
        return replace(images, pixels=F.pad(images.pixels, (border,) * 4))

    return replace(data, train=pad(data.train), test=pad(data.test))


def to_floats(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as floats in -1..1: ``x / 127.5 - 1``."""
    return pixels.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Return images in -1..1 as uint8, rounded; values outside are clipped, NaN becomes 0."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8)
