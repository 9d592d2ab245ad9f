"""Training batches from an image set in memory: shuffled, augmented and normalised on its device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dynamics.data.augmentation import AUGMENTATIONS, crop, draw, pad
from dynamics.data.images import Images
from dynamics.data.seeding import generator


def standardize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return ``(pixels / 255 - mean) / std`` by channel: ``(n, channels, height, width)`` in torch's default dtype."""
    scale = 1 / (255 * torch.tensor(std, device=pixels.device))
    shift = torch.tensor(mean, device=pixels.device) / torch.tensor(std, device=pixels.device)
    return pixels.to(torch.get_default_dtype()).mul_(scale[:, None, None]).sub_(shift[:, None, None])


class TrainingBatches:
    """The batches of every epoch. Each batch is a pure function of the seed, the epoch and the batch's number.

    An epoch goes once through the images in a new random order. Images that do not fill a last batch are left out of
    that epoch, so that every step has the same number of images.

    Args:
        images: The training images, on the device of the batches.
        mean: Mean by channel, of pixels scaled to 0..1.
        std: Standard deviation by channel, of pixels scaled to 0..1.
        batch_size: Images in a batch.
        augmentation: ``"none"``, ``"crop"`` (random crops of the image padded by 4) or ``"crop-flip"`` (crops that are
            mirrored with probability 1/2).
        seed: Seed of order and augmentation.

    Raises:
        ValueError: The augmentation is unknown, or there are fewer images than one batch.
    """

    def __init__(
        self,
        images: Images,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        augmentation: str = "none",
        seed: int = 0,
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation {augmentation!r}: expected one of {', '.join(AUGMENTATIONS)}.")
        if not 0 < batch_size <= len(images):
            raise ValueError(f"batch size {batch_size}: expected 1 to {len(images)}, the number of training images.")
        self.batch_size, self.seed = batch_size, seed
        self._mean, self._std = mean, std
        self._labels = images.labels
        self._flip = augmentation == "crop-flip"
        self._cropped = augmentation != "none"
        self._pixels = pad(images.pixels) if self._cropped else images.pixels

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._labels) // self.batch_size

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``(batch, channels, height, width)`` in torch's default dtype, and labels ``(batch,)``.

        Args:
            epoch: Number of the epoch, from 0.
            start: Number of batches to skip, for a resumed run.
            rank: Number of this process, from 0; it fixes the share of each batch to yield.
            ranks: Number of processes. Their shares together are the batch of a single process.
        """
        count, device = len(self._labels), self._labels.device
        draws = draw(count, flip=self._flip, generator=generator(self.seed, "augmentation", epoch)).to(device)
        for index in batch_indices(
            count,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            start=start,
            rank=rank,
            ranks=ranks,
            device=device,
        ):
            pixels = crop(self._pixels, index, draws[index]) if self._cropped else self._pixels[index]
            yield standardize(pixels, self._mean, self._std), self._labels[index]


def batch_indices(
    count: int,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | None = None,
) -> Iterator[Tensor]:
    """Yield the indices of each batch's samples, ``(batch,)`` int64, from a random order of ``count`` samples.

    The order depends on seed and epoch alone. Samples that do not fill a last batch are left out.

    Args:
        count: Number of samples.
        batch_size: Samples of a batch.
        seed: Seed of the order.
        epoch: Number of the epoch, from 0.
        start: Number of batches to skip, for a resumed run.
        rank: Number of this process, from 0; it fixes the share of each batch to yield.
        ranks: Number of processes. Their shares together are the batch of a single process.
        device: Device of the indices.
    """
    order = torch.randperm(count, generator=generator(seed, "order", epoch)).to(device)
    for batch in range(start, count // batch_size):
        yield order[batch * batch_size : (batch + 1) * batch_size][rank::ranks]


def in_order(
    images: Images, *, mean: Sequence[float], std: Sequence[float], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images and labels in their stored order without augmentation. The last batch may be shorter."""
    for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True):
        yield standardize(pixels, mean, std), labels
