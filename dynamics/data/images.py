"""A labelled image set as two tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Images and their labels, all in memory.

    Attributes:
        pixels: uint8, ``(n, channels, height, width)``.
        labels: int64, ``(n,)``, from 0 to ``num_classes - 1``.
    """

    pixels: Tensor  # (n, channels, height, width), uint8
    labels: Tensor  # (n,), int64

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Self:
        """Return the same images on a device."""
        return type(self)(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """Training and test images, with their classes and pixel statistics.

    Attributes:
        name: The name that loaded it.
        train: Training images.
        test: Test images.
        num_classes: Number of classes.
        mean: Mean of each channel, of pixels scaled to 0..1.
        std: Standard deviation of each channel, of pixels scaled to 0..1.
    """

    name: str
    train: Images
    test: Images
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for split, images in (("train", self.train), ("test", self.test)):
            _check(images, where=f"{self.name} ({split})", num_classes=self.num_classes)
        if self.train.pixels.shape[1:] != self.test.pixels.shape[1:]:
            raise ValueError(
                f"{self.name}: training images are {tuple(self.train.pixels.shape[1:])}, test images "
                f"{tuple(self.test.pixels.shape[1:])}; expected one shape (channels, height, width)."
            )
        for statistic in (self.mean, self.std):
            if len(statistic) != self.in_channels:
                raise ValueError(f"{self.name}: {statistic} for {self.in_channels} channels; expected one number each.")

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.pixels.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width of an image, in pixels."""
        return self.train.pixels.shape[2]

    def to(self, device: torch.device | str) -> Self:
        """Return the same data set on a device."""
        moved = (self.train.to(device), self.test.to(device))
        return type(self)(self.name, *moved, self.num_classes, self.mean, self.std)


def first_of_each_class(images: Images, count: int) -> Images:
    """Return the first ``count`` images of every class, in their order.

    Raises:
        ValueError: A class has fewer than ``count`` images.
    """
    ranks = torch.zeros_like(images.labels)
    for label in images.labels.unique():
        of_class = images.labels == label
        if int(of_class.sum()) < count:
            raise ValueError(f"train_images {count}: class {int(label)} has only {int(of_class.sum())} images.")
        ranks[of_class] = torch.arange(int(of_class.sum()))
    chosen = ranks < count
    return Images(images.pixels[chosen], images.labels[chosen])


def evenly_spaced(images: Images, *, most: int) -> Images:
    """Return every k-th image, with the smallest k that gives at most ``most`` images; all of a smaller set."""
    step = max(1, -(-len(images) // most))
    return Images(images.pixels[::step], images.labels[::step])


def _check(images: Images, *, where: str, num_classes: int) -> None:
    pixels, labels = images.pixels, images.labels
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[2] != pixels.shape[3]:
        raise ValueError(
            f"{where}: pixels are {pixels.dtype} {tuple(pixels.shape)}; expected uint8 (n, channels, size, size)."
        )
    if len(pixels) == 0 or labels.shape != (len(pixels),):
        raise ValueError(
            f"{where}: {len(pixels)} images and labels {tuple(labels.shape)}; expected one label an image."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"{where}: labels from {low} to {high}; expected 0 to {num_classes - 1}.")
