"""A series of numbers as one line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BARS = "▁▂▃▄▅▆▇█"
BROKEN = "×"


def sparkline(values: Sequence[float] | np.ndarray, *, width: int) -> str:
    """Return at most ``width`` letters whose heights follow the values, from the smallest to the largest.

    If there are more values than letters, each letter is the mean of its share of the values. A share with a NaN or
    infinite value is ``×``. Equal values have letters of middle height. No values give an empty text.

    >>> sparkline([0, 1, 2, 3, float("nan"), 7], width=6)
    '▁▂▃▄×█'
    """
    numbers = np.asarray(values, "float64")
    if not numbers.size:
        return ""
    means = np.array([share.mean() for share in np.array_split(numbers, min(width, numbers.size))])
    finite = means[np.isfinite(means)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    return "".join(_letter(mean, low, high) for mean in means)


def _letter(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return BROKEN
    share = (value - low) / (high - low) if high > low else 0.5
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]
