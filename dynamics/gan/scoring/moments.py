"""Mean and covariance of a stream of feature vectors, in float64. Partial results can be merged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and scatter of n feature vectors. The sum of two Moments belongs to the union of both sets.

    Formula: ``mean = sum x_i / n``, ``scatter = sum (x_i - mean)(x_i - mean)^T``. Addition follows Chan, Golub and
    LeVeque (1983): the scatter of a union is the sum of both scatters, plus ``n_a n_b / (n_a + n_b)`` times the outer
    product of the difference of the means. No sum of squares is formed, so a large common mean loses no digits.

    Attributes:
        count: Number of vectors, n.
        mean: Shape ``(d,)``, float64.
        scatter: Shape ``(d, d)``, float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Return the moments of one batch of features, shape ``(n, d)``; NaN in, NaN out.

        Raises:
            ValueError: The features are not a matrix with at least one row.
        """
        if features.ndim != 2 or len(features) == 0:
            raise ValueError(f"features of shape {tuple(features.shape)}: expected (n, d) with n >= 1.")
        exact = features.detach().double()
        mean = exact.mean(dim=0)
        centred = exact - mean
        return cls(len(exact), mean, centred.mT @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets together.

        Raises:
            ValueError: The sets have feature vectors of different lengths.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {len(self.mean)} and of {len(other.mean)} features do not add: "
                "take both with the same extractor."
            )
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance ``scatter / (n - 1)``, shape ``(d, d)``.

        Raises:
            ValueError: There are fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {self.count}.")
        return self.scatter / (self.count - 1)


def moments(batches: Iterable[Tensor]) -> Moments:
    """Return the moments of all batches, holding one batch at a time.

    Args:
        batches: Feature matrices ``(n_i, d)``.

    Raises:
        ValueError: There is no batch at all.
    """
    parts = map(Moments.of, batches)
    first = next(parts, None)
    if first is None:
        raise ValueError("no feature batches: expected at least one.")
    return reduce(add, parts, first)
