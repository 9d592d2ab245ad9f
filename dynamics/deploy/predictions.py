"""Predictions of a network for test images, compared image by image with those of another network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynamics.classifier.evaluation import number_right

NO_CLASS = -1  # the class of an image with a NaN among its logits


@dataclass(frozen=True)
class Predictions:
    """The answers of a network.

    Attributes:
        logits: ``(images, classes)``, float32.
        labels: ``(images,)``.
    """

    logits: Tensor
    labels: Tensor

    @property
    def classes(self) -> Tensor:
        """The class of the largest logit, ``(images,)``; -1 if a logit of the image is NaN."""
        return self.logits.argmax(1).masked_fill(self.logits.isnan().any(1), NO_CLASS)

    @property
    def right(self) -> int:
        """Images whose class is their label."""
        return int(number_right(self.logits, self.labels))

    @property
    def accuracy(self) -> float:
        """Share of images whose class is their label, 0 to 1."""
        return self.right / len(self.labels)

    def changed(self, before: Predictions) -> int:
        """Return the number of images whose class differs from ``before``."""
        return int((self.classes != before.classes).sum())

    def logit_error(self, before: Predictions) -> float:
        """Return the largest absolute difference of a logit from ``before``; NaN if a logit is NaN."""
        return float((self.logits - before.logits).abs().max())


def predict(network: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> Predictions:
    """Return the predictions for all images of some batches, without gradients.

    Args:
        network: Returns logits, ``(batch, classes)``. A module must be in evaluation mode.
        batches: Images and labels, of any batch sizes.

    Raises:
        ValueError: There are no images.
    """
    logits, labels = [], []
    with torch.inference_mode():
        for images, label in batches:
            logits.append(network(images).float())
            labels.append(label)
    if not labels:
        raise ValueError("no images to predict: expected at least one batch.")
    return Predictions(torch.cat(logits), torch.cat(labels))
