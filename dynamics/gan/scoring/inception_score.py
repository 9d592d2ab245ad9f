"""Inception score: how confidently a classifier labels each image, and how evenly its labels spread over all images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Sums of the inception score over n images. The sum of two statistics belongs to the union of both sets.

    Attributes:
        count: Number of images, n.
        probabilities: ``sum_i p(y | x_i)``, shape ``(classes,)``, float64.
        negative_entropy: ``sum_i sum_y p(y | x_i) log p(y | x_i)``, in nats.
    """

    count: int
    probabilities: Tensor
    negative_entropy: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> ClassStatistics:
        """Return the statistics of one batch of logits, shape ``(n, classes)``; NaN in, NaN out.

        Raises:
            ValueError: The logits are not a matrix with at least one row.
        """
        if logits.ndim != 2 or len(logits) == 0:
            raise ValueError(f"logits of shape {tuple(logits.shape)}: expected (n, classes) with n >= 1.")
        log_p = logits.detach().double().log_softmax(dim=1)
        p = log_p.exp()
        # A class of probability 0 (logit -inf) adds 0, because p log p -> 0. xlogy would hide a NaN; where() keeps it.
        terms = (p * log_p).where(p != 0, p)
        return cls(len(p), p.sum(dim=0), terms.sum())

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        """Return the statistics of both sets together."""
        return ClassStatistics(
            self.count + other.count,
            self.probabilities + other.probabilities,
            self.negative_entropy + other.negative_entropy,
        )


def inception_score(statistics: ClassStatistics) -> float:
    """Exponential of the mutual information between image and class.

    Formula: ``exp( mean_i KL( p(y|x_i) || p(y) ) )``, ``p(y) = mean_i p(y|x_i)``, over all images, without splits.

    Reference: Salimans et al. (2016).

    Returns:
        The score, from 1 (every image looks alike to the classifier) to the number of classes. NaN for NaN logits.
    """
    marginal = statistics.probabilities / statistics.count
    marginal_entropy = -(marginal * marginal.log()).where(marginal != 0, marginal).sum().item()
    return math.exp(statistics.negative_entropy.item() / statistics.count + marginal_entropy)
