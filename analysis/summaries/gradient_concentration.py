"""Concentration of a tensor's squared length in few entries, from recorded histograms, with its error.

The largest k of n entries hold the share ``f(k) = sum of their squares / sum of all squares``. If only they are sent,
as index and value, they make a vector whose cosine with the whole is ``sqrt(f(k))``.

A histogram gives the bin of an entry, not its place in the bin. Each result therefore has three numbers: the smallest
and the largest value of any tensor with this histogram, and the value for entries that are spread evenly over their
bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.summaries.densities import Histogram, pooled
from analysis.summaries.transforms import require
from probes.schema import TENSOR

MASS = 0.9  # share of the squared length
COSINES = (0.9, 0.99)
BYTES_AN_ENTRY = 8  # a float32 value and an int32 index
SHARE, KURTOSIS = "share_of_entries_90", "kurtosis"
LOW, HIGH = "_low", "_high"


@dataclass(frozen=True)
class Interval:
    """A number that a histogram determines only within bounds.

    Attributes:
        low: The smallest value that a tensor with this histogram can have.
        value: The value if entries are spread evenly over their bins.
        high: The largest value that such a tensor can have.
    """

    low: float
    value: float
    high: float


_UNKNOWN = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Magnitudes:
    """Counts of absolute values, largest bin first.

    Attributes:
        low: Lower edge of each bin, ``(bins,)``.
        high: Upper edge of each bin, ``(bins,)``.
        counts: Number of entries in each bin, above 0, ``(bins,)``.
        n: Number of all entries.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    n: int


def gradient_concentration(rows: pd.DataFrame, *, tensor: str = "gradient") -> pd.DataFrame:
    """Return how concentrated each recorded tensor is: a row for each histogram, with its keys and index.

    Columns, each with ``_low`` and ``_high`` beside it:

    - ``share_of_entries_90``: smallest share of the entries that holds 90 % of the squared length, 0 to 1;
    - ``kurtosis``: ``n sum x^4 / (sum x^2)^2``, about zero: 1 if all entries have the same size, 3 for a normal
      distribution about zero, n if only one entry is not 0;
    - ``bytes_cosine_0.9`` and ``bytes_cosine_0.99``: bytes of the largest entries, 8 per entry for index and value,
      that make this cosine with the whole.

    ``bytes_dense`` is 4 bytes an entry. The numbers are NaN for a tensor with a NaN or infinite entry, without entries,
    or with zeros only.

    Args:
        rows: Rows of :func:`analysis.histograms`.
        tensor: The tensor whose rows are taken.

    Raises:
        ValueError: A column is missing, or no row is of that tensor.
    """
    require(rows, [TENSOR])
    chosen = rows[rows[TENSOR].astype(str) == tensor]
    if chosen.empty:
        raise ValueError(f"no histogram of tensor {tensor!r}: the rows have {sorted(set(rows[TENSOR].astype(str)))}")
    measured = [_measured(pooled(chosen.iloc[[place]])) for place in range(len(chosen))]
    keys = chosen.drop(columns=["counts", "first_bin", "mantissa_bits", "n_zero", "n_nonfinite"])
    return pd.concat([keys, pd.DataFrame(measured, index=chosen.index)], axis="columns")


def mass_curve(row: pd.DataFrame, shares: np.ndarray) -> np.ndarray:
    """Return the share of the entries, largest first, that holds each share of the squared length.

    Entries are spread evenly over their bins.

    Args:
        row: One row of :func:`analysis.histograms`.
        shares: Shares of the squared length, from 0 to 1.

    Returns:
        One number per share; NaN if the tensor has a NaN or infinite entry, no entry, or zeros only.
    """
    histogram = pooled(row)
    magnitudes = magnitudes_of(histogram)
    if histogram.n_nonfinite or not len(magnitudes.counts):
        return np.full(len(shares), np.nan)
    return np.array([_even_entries(magnitudes, share) / magnitudes.n if share else 0.0 for share in shares])


def entries_for_share(magnitudes: Magnitudes, share: float) -> Interval:
    """Return how many of the largest entries hold a share of the squared length.

    The bounds are whole numbers and sharp: some tensor attains each. The value between them is not rounded.

    Args:
        magnitudes: Without zeros, one bin or more.
        share: Above 0, at most 1.
    """
    low, high, counts = magnitudes.low**2, magnitudes.high**2, magnitudes.counts
    # The number is smallest if the entries sent lie at the upper ends of their bins and the rest at the lower ends. It
    # is largest in the reverse case. Within one bin, the entries sent are never smaller than the rest: at worst all are
    # equal.
    fewest = _entries(counts, sent=high, kept=low, share=share, within=[(high, low)])
    most = _entries(counts, sent=low, kept=high, share=share, within=[(low, low), (high, high)])
    least, largest = float(np.ceil(fewest - 1e-9)), float(np.ceil(most - 1e-9))
    return Interval(least, min(max(_even_entries(magnitudes, share), least), largest), largest)


def kurtosis(magnitudes: Magnitudes) -> Interval:
    """Return ``n sum x^4 / (sum x^2)^2``, with sharp bounds.

    Args:
        magnitudes: One bin or more; zeros count in n.
    """
    low, high, counts, n = magnitudes.low, magnitudes.high, magnitudes.counts, magnitudes.n
    squares, fourths = (_even_mean(low, high, power) for power in (2, 4))
    value = n * float(counts @ fourths) / float(counts @ squares) ** 2
    # The ratio grows with a square s above sum s^2 / sum s and falls with a square below it. So the ends are known for
    # all bins but one.
    least = n * min(_least_ratio(bin_, low**2, high**2, counts) for bin_ in range(len(counts)))
    largest = n * max(_largest_ratio(bin_, low**2, high**2, counts) for bin_ in range(len(counts)))
    return Interval(least, min(max(value, least), largest), largest)


def magnitudes_of(histogram: Histogram) -> Magnitudes:
    """Return a histogram's counts by absolute value, both signs together, exact zeros left out of the bins."""
    ends = np.abs(np.stack([histogram.edges[:-1], histogram.edges[1:]]))
    low, high = ends.min(axis=0), ends.max(axis=0)
    edges, places = np.unique(high, return_inverse=True)
    counts = np.bincount(places, weights=histogram.counts).astype(np.int64)
    lows = np.full(len(edges), np.inf)
    np.minimum.at(lows, places, low)
    if len(edges) and lows[0] == 0:
        counts[0] -= histogram.n_zero
    kept = np.flatnonzero(counts)[::-1]
    return Magnitudes(lows[kept], edges[kept], counts[kept], histogram.n)


def _measured(histogram: Histogram) -> dict[str, float]:
    magnitudes = magnitudes_of(histogram)
    empty = histogram.n_nonfinite > 0 or not len(magnitudes.counts)
    found = {SHARE: _UNKNOWN if empty else _scaled(entries_for_share(magnitudes, MASS), 1 / magnitudes.n)}
    found[KURTOSIS] = _UNKNOWN if empty else kurtosis(magnitudes)
    for cosine in COSINES:
        entries = _UNKNOWN if empty else entries_for_share(magnitudes, cosine**2)
        found[f"bytes_cosine_{cosine}"] = _scaled(entries, BYTES_AN_ENTRY)
    row = {"bytes_dense": 4.0 * histogram.n}
    for name, interval in found.items():
        row |= {name: interval.value, name + LOW: interval.low, name + HIGH: interval.high}
    return row


def _scaled(interval: Interval, factor: float) -> Interval:
    return Interval(interval.low * factor, interval.value * factor, interval.high * factor)


def _entries(
    counts: np.ndarray,
    *,
    sent: np.ndarray,
    kept: np.ndarray,
    share: float,
    within: Sequence[tuple[np.ndarray, np.ndarray]],
) -> float:
    """Return how many of the largest entries hold a share in the worst case of ``within``; largest bin first.

    Args:
        counts: Entries of each bin.
        sent: Square of an entry of a bin that is sent whole.
        kept: Square of an entry of a bin that is kept whole.
        share: Share of the sum of squares.
        within: Squares of the entries sent and kept in the one bin that is sent in part, for one or more cases.
    """
    above = np.concatenate([[0.0], np.cumsum(counts * sent)[:-1]])
    below = np.concatenate([np.cumsum((counts * kept)[::-1])[::-1][1:], [0.0]])
    needed = np.zeros(len(counts))
    for inside, outside in within:
        # above + r inside >= share (above + r inside + (counts - r) outside + below)
        missing = share * (above + counts * outside + below) - above
        with np.errstate(divide="ignore", invalid="ignore"):
            r = missing / (inside - share * (inside - outside))
        needed = np.maximum(needed, np.where(missing > 0, r, 0.0))
    fits = needed <= counts * (1 + 1e-12)
    first = int(np.argmax(fits))
    return float(counts[:first].sum() + needed[first]) if fits.any() else float(counts.sum())


def _even_entries(magnitudes: Magnitudes, share: float) -> float:
    """Return how many entries hold the share if they are spread evenly over their bins."""
    low, high, counts = magnitudes.low, magnitudes.high, magnitudes.counts
    squares = counts * _even_mean(low, high, 2)
    reached = np.cumsum(squares)
    needed = share * reached[-1]
    bin_ = min(int(np.searchsorted(reached, needed)), len(counts) - 1)
    within = needed - (reached[bin_] - squares[bin_])
    # The entries above t hold counts / (high - low) * (high^3 - t^3) / 3.
    width = high[bin_] - low[bin_]
    t = np.cbrt(max(high[bin_] ** 3 - 3 * within * width / counts[bin_], low[bin_] ** 3))
    return float(counts[:bin_].sum() + counts[bin_] * (high[bin_] - t) / width)


def _even_mean(low: np.ndarray, high: np.ndarray, power: int) -> np.ndarray:
    """Return the mean of ``x**power`` for x spread evenly over each bin."""
    return (high ** (power + 1) - low ** (power + 1)) / ((power + 1) * (high - low))


def _least_ratio(bin_: int, low: np.ndarray, high: np.ndarray, counts: np.ndarray) -> float:
    """Return the smallest ``sum s^2 / (sum s)^2``.

    Larger bins are at their lower ends, smaller bins at their upper ends, and one bin is inside its range.
    """
    first, second = _sums(bin_, counts, larger=low, smaller=high)
    s = np.clip(second / first if first else high[bin_], low[bin_], high[bin_])
    return float((second + counts[bin_] * s**2) / (first + counts[bin_] * s) ** 2)


def _largest_ratio(bin_: int, low: np.ndarray, high: np.ndarray, counts: np.ndarray) -> float:
    """Return the largest ratio: larger bins at their upper ends, smaller at their lower, one split between its ends."""
    first, second = _sums(bin_, counts, larger=high, smaller=low)
    p, a = first + counts[bin_] * low[bin_], second + counts[bin_] * low[bin_] ** 2
    q, b = high[bin_] - low[bin_], high[bin_] ** 2 - low[bin_] ** 2
    # (a + b r) / (p + q r)^2, r entries at the upper end, is largest where b (p + q r) = 2 q (a + b r).
    best = float(np.clip((b * p - 2 * q * a) / (b * q), 0, counts[bin_]))
    counted = (r for r in (np.floor(best), np.ceil(best), counts[bin_]) if p + q * r > 0)
    return max((float((a + b * r) / (p + q * r) ** 2) for r in counted), default=0.0)


def _sums(bin_: int, counts: np.ndarray, *, larger: np.ndarray, smaller: np.ndarray) -> tuple[float, float]:
    """Return the sums of squares and of fourth powers over all bins but one; the bins before it are the larger ones."""
    squares = np.concatenate([larger[:bin_], smaller[bin_ + 1 :]])
    others = np.delete(counts, bin_)
    return float(others @ squares), float(others @ squares**2)
