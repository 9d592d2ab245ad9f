"""Scores of generated images by an extractor, whose name is part of every score's name."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import torch

from dynamics.gan.scoring.extractors.extractor import Extractor, extract
from dynamics.gan.scoring.frechet import frechet_distance
from dynamics.gan.scoring.inception_score import ClassStatistics, inception_score
from dynamics.gan.scoring.kernel_distance import kernel_distance
from dynamics.gan.scoring.moments import Moments, moments

if TYPE_CHECKING:
    from torch import Tensor

KERNEL_IMAGES = 2000  # real images in the kernel distance, which is unbiased for any number but needs all in memory


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of the real images.

    Attributes:
        moments: Moments of the features of all images, for the Frechet distance.
        vectors: Features of the first ``KERNEL_IMAGES`` images, ``(n, d)``, for the kernel distance.
    """

    moments: Moments
    vectors: Tensor


def reference(extractor: Extractor, pixels: Tensor) -> Reference:
    """Return the statistics of real images, uint8 ``(n, channels, h, w)``, for scores; computed batch by batch."""
    first = torch.cat([features.vectors for features in extract(extractor, pixels[:KERNEL_IMAGES])])
    parts = [Moments.of(first)]
    if len(pixels) > KERNEL_IMAGES:
        parts.append(moments(features.vectors for features in extract(extractor, pixels[KERNEL_IMAGES:])))
    return Reference(reduce(add, parts), first)


def score(extractor: Extractor, real: Reference, pixels: Tensor) -> dict[str, float]:
    """Return inception score, Frechet and kernel distance of one draw of images.

    Args:
        extractor: The extractor. Its name ends the scores' names: ``is_resnet20``, ``fid_resnet20``, ``kid_resnet20``.
        real: Statistics of the real images, from the same extractor.
        pixels: uint8 ``(n, channels, h, w)``, n at least 2.
    """
    classes, vectors = [], []
    for features in extract(extractor, pixels):
        classes.append(ClassStatistics.of(features.logits))
        vectors.append(features.vectors)
    drawn = torch.cat(vectors)
    return {
        column("is", extractor.name): inception_score(reduce(add, classes)),
        column("fid", extractor.name): frechet_distance(Moments.of(drawn), real.moments),
        column("kid", extractor.name): kernel_distance(drawn, real.vectors),
    }


def score_draws(extractor: Extractor, real: Reference, draws: Iterable[Tensor]) -> dict[str, float]:
    """Return the mean of each score over draws and, under ``<name>_std``, its sample standard deviation.

    For a single draw no deviation is returned.

    Raises:
        ValueError: There are no draws.
    """
    scores = [score(extractor, real, pixels) for pixels in draws]
    if not scores:
        raise ValueError("no draws of images to score: expected at least one.")
    result: dict[str, float] = {}
    for name in scores[0]:
        values = [one[name] for one in scores]
        result[name] = statistics.fmean(values)
        if len(values) > 1:
            result[f"{name}_std"] = statistics.stdev(values)
    return result


def column(measure: str, extractor: str) -> str:
    """Return the column of a score. It ends in the extractor's name: ``fid_resnet20``, ``fid_inception``."""
    return f"{measure}_{extractor}"
