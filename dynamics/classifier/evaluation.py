"""Loss and accuracy of a model on a set of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamics.norms.eval_mode import evaluating


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share of right answers, 0 to 1.
    """

    loss: float
    accuracy: float


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Return mean cross-entropy and accuracy over all images; NaN logits give a NaN loss and count as wrong.

    Args:
        model: Returns logits, ``(batch, classes)``.
        batches: Images and labels, of any batch sizes.

    Raises:
        ValueError: There are no images.
    """
    losses, right, count = [], [], 0
    with evaluating(model), torch.no_grad():
        for images, labels in batches:
            logits = model(images).float()
            losses.append(F.cross_entropy(logits, labels, reduction="sum").double())
            right.append(number_right(logits, labels))
            count += len(labels)
    if count == 0:
        raise ValueError("no images to evaluate on: expected at least one batch.")
    # One wait for the device at the end, not one a batch.
    return Score(float(torch.stack(losses).sum()) / count, float(torch.stack(right).sum()) / count)


def number_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many images have their largest logit at their label: a scalar tensor; NaN logits are wrong."""
    # argmax takes NaN for the largest: then class 0, say, would be right by accident.
    return ((logits.argmax(1) == labels) & ~logits.isnan().any(1)).sum()
