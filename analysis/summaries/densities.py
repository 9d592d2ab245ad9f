"""Densities from recorded histograms: exact sums of recorded bins, and interpolation onto other bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.summaries.transforms import require
from probes.schema import bin_edges

_NEEDED = ("first_bin", "counts", "mantissa_bits", "n", "n_zero", "n_nonfinite")


@dataclass(frozen=True)
class Histogram:
    """Counts in consecutive exponent bins, added over rows.

    Attributes:
        edges: ``(bins + 1,)``, ascending; see :func:`probes.schema.bin_edges`.
        counts: Number of elements in each bin, ``(bins,)``.
        n: All elements, finite or not.
        n_zero: Elements exactly zero; they are in ``counts`` too.
        n_nonfinite: NaN and infinite elements, in no bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    n: int
    n_zero: int
    n_nonfinite: int


def pooled(rows: pd.DataFrame) -> Histogram:
    """Return the sum of recorded histograms: the histogram of all their elements together.

    Raises:
        ValueError: There is no row, a column is missing, or rows were recorded with different bin widths.
    """
    require(rows, _NEEDED)
    if rows.empty:
        raise ValueError("no histogram to add up: the table has no row")
    bits = rows["mantissa_bits"].unique()
    if len(bits) > 1:
        raise ValueError(
            f"histograms with mantissa_bits {sorted(map(int, bits))} cannot be added; choose runs of one kind"
        )
    lengths = rows["counts"].map(len)
    first = int(rows["first_bin"].min())
    total = np.zeros(int((rows["first_bin"] + lengths).max()) - first, np.int64)
    for start, counts in zip(rows["first_bin"], rows["counts"], strict=True):
        total[start - first : start - first + len(counts)] += np.asarray(counts)
    edges = bin_edges(first, len(total), mantissa_bits=int(bits[0]))
    return Histogram(edges, total, *(int(rows[name].sum()) for name in ("n", "n_zero", "n_nonfinite")))


def histogram_density(rows: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    """Return the probability density of recorded elements in bins of your own.

    ``density[i] = (elements between edges[i] and edges[i+1]) / (all elements * width)``, where the elements of a
    recorded bin are spread evenly over it. All elements are in the denominator, also NaN and those beyond the edges.
    The integral is therefore the share of the elements between the edges.

    Args:
        rows: Rows of :func:`analysis.histograms` of one tensor; they are added up.
        edges: ``(bins + 1,)``, ascending.

    Raises:
        ValueError: No rows, missing columns, or edges that do not ascend.
    """
    return density(pooled(rows), edges)


def rebinned(histogram: Histogram, edges: np.ndarray) -> pd.DataFrame:
    """Return ``left``, ``right`` and ``density`` of each new bin, ``share_zero`` and ``share_nonfinite`` of all."""
    edges = np.asarray(edges, "float64")
    all_elements = histogram.n or np.nan
    return pd.DataFrame(
        {
            "left": edges[:-1],
            "right": edges[1:],
            "density": density(histogram, edges),
            "share_zero": histogram.n_zero / all_elements,
            "share_nonfinite": histogram.n_nonfinite / all_elements,
        }
    )


def density(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """Return the density of each new bin; NaN where there are no elements.

    Args:
        histogram: The recorded bins.
        edges: ``(bins + 1,)``, ascending.

    Raises:
        ValueError: The edges do not ascend.
    """
    edges = np.asarray(edges, "float64")
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges must ascend and be at least 2, got {edges!r}")
    below = np.concatenate([[0], np.cumsum(histogram.counts)])
    # Interpolating the cumulative count spreads the elements of each recorded bin evenly over it.
    inside = np.diff(np.interp(edges, histogram.edges, below))
    return np.asarray(inside / ((histogram.n or np.nan) * np.diff(edges)))


def root_mean_square(histogram: Histogram) -> float:
    """Return the root mean square of the finite elements, spread evenly over their bins; NaN without one."""
    low, high, total = histogram.edges[:-1], histogram.edges[1:], histogram.counts.sum()
    if not total:
        return float("nan")
    return float(np.sqrt(histogram.counts @ ((low**2 + low * high + high**2) / 3) / total))


def central_range(rows: pd.DataFrame, *, share: float) -> float:
    """Return the smallest bin edge r such that each row has at least ``share`` of its finite elements in [-r, r].

    A row without a finite element is ignored; the result is 1 if no row has one.
    """
    return max((half_width(pooled(rows.iloc[[place]]), share) for place in range(len(rows))), default=0.0) or 1.0


def half_width(histogram: Histogram, share: float) -> float:
    """Return the smallest bin edge r such that ``share`` of the finite elements are in [-r, r]; 0 without any."""
    total = histogram.counts.sum()
    if not total:
        return 0.0
    outer = np.maximum(np.abs(histogram.edges[:-1]), np.abs(histogram.edges[1:]))
    order = np.argsort(outer, kind="stable")
    within = np.cumsum(histogram.counts[order]) >= share * total
    return float(outer[order][np.argmax(within)])


def shares_by_octave(rows: pd.DataFrame, *, by: list[str], octaves: int) -> pd.DataFrame:
    """Return the share of all elements in each signed octave of magnitude, a row for each group and octave.

    Columns beside ``by``: ``octave`` from ``-octaves`` to ``octaves``, ``share``, ``share_nonfinite`` of the group, and
    ``top``, the exponent of the smallest power of two that no element of the whole table exceeds. Octave ``k > 0``
    holds the values from ``2**(top - octaves + k - 1)`` to twice that, octave ``-k`` their negatives, octave 0 all
    smaller values. NaN elements are in no octave.

    Args:
        rows: Rows of :func:`analysis.histograms`.
        by: Columns of the groups; the rows of a group are added up.
        octaves: Number of octaves that are distinguished below the largest element.
    """
    groups = [(keys, pooled(group)) for keys, group in rows.groupby(by, observed=True, sort=True)]
    top = max((_top_exponent(histogram) for _, histogram in groups), default=0)
    positive = 2.0 ** np.arange(top - octaves, top + 1)
    edges = np.concatenate([-positive[::-1], positive])
    parts = []
    for keys, histogram in groups:
        below = np.concatenate([[0], np.cumsum(histogram.counts)])
        inside = np.diff(np.interp(edges, histogram.edges, below))
        part = {"octave": np.arange(-octaves, octaves + 1), "share": inside / (histogram.n or np.nan), "top": top}
        part["share_nonfinite"] = histogram.n_nonfinite / (histogram.n or np.nan)
        parts.append(pd.DataFrame(dict(zip(by, keys, strict=True)) | part))
    return pd.concat(parts, ignore_index=True)


def _top_exponent(histogram: Histogram) -> int:
    filled = np.flatnonzero(histogram.counts)
    if not filled.size:
        return -126
    largest = max(abs(histogram.edges[filled[0]]), abs(histogram.edges[filled[-1] + 1]))
    return int(np.ceil(np.log2(largest))) if largest > 0 else -126
