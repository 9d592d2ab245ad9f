"""Loss and accuracy of a model on a set of images, or on a text."""

from __future__ import annotations

import math
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
        loss: Mean cross-entropy over images or characters, in nats.
        accuracy: Share of right answers, 0 to 1.
    """

    loss: float
    accuracy: float

    @property
    def bits(self) -> float:
        """The loss in bits."""
        return self.loss / math.log(2)


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Return mean cross-entropy and accuracy over all targets; NaN logits give a NaN loss and count as wrong.

    Args:
        model: Returns logits, ``(batch, classes)``, or ``(batch, time, characters)``.
        batches: Images and labels, or windows of text and the next characters, of any batch sizes.

    Raises:
        ValueError: There are no images.
    """
    losses, right, count = [], [], 0
    with evaluating(model), torch.no_grad():
        for inputs, targets in batches:
            logits = model(inputs).float()
            losses.append(cross_entropy(logits, targets, reduction="sum").double())
            right.append(number_right(logits, targets))
            count += targets.numel()
    if count == 0:
        raise ValueError("no images to evaluate on: expected at least one batch.")
    # Wait for the device once at the end, not after each batch.
    return Score(float(torch.stack(losses).sum()) / count, float(torch.stack(right).sum()) / count)


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of logits ``(..., classes)`` and targets ``(...)``, in nats, over all positions."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction=reduction)


def number_right(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the number of targets ``(...)`` whose logit is the largest of ``(..., classes)``; NaN counts as wrong."""
    # argmax returns the index of a NaN, and that index could equal the target by accident.
    return ((logits.argmax(-1) == targets) & ~logits.isnan().any(-1)).sum()
