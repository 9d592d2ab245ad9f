"""The records of a line that a chart needs: extremes, ends, NaN, and the steps of findings."""

from __future__ import annotations

import numpy as np

FEWEST_POINTS = 50


def points_a_line(lines: int, *, budget: int, most: int) -> int:
    """Return how many points each of ``lines`` lines may have; at least ``FEWEST_POINTS``, at most ``most``."""
    return min(most, max(FEWEST_POINTS, budget // max(lines, 1)))


def kept_records(values: np.ndarray, measured: np.ndarray, *, most: int, always: np.ndarray) -> np.ndarray:
    """Return which points of each column of a matrix are kept, same shape, bool.

    Up to ``most`` records are all kept. More records are cut into stretches of equal length. In each stretch the
    smallest and the largest value are kept, and the first and the last value that is not finite. The first and the last
    record of a line are kept too.

    Args:
        values: ``(records, lines)``.
        measured: Whether there is a value, same shape; a point without a value is not kept.
        most: Approximate number of points per line, not counting those that are not finite and those of ``always``.
        always: Whether all points measured at a record are kept, ``(records,)``.
    """
    due = np.flatnonzero(measured.any(axis=1))
    if len(due) <= most:
        return measured.copy()
    kept = np.zeros(measured.shape, dtype=bool)
    kept[always] = True
    columns = np.arange(measured.shape[1])
    finite = measured & np.isfinite(values)
    _keep_ends(kept, measured, columns)
    least, greatest = np.where(finite, values, np.inf), np.where(finite, values, -np.inf)
    broken = measured & ~finite
    any_broken = broken.any()
    for stretch in np.array_split(due, max(1, (most - 2) // 2)):
        kept[stretch[least[stretch].argmin(axis=0)], columns] = True
        kept[stretch[greatest[stretch].argmax(axis=0)], columns] = True
        if any_broken:
            # For a line without such a value, argmax gives the first record. The mask `broken` removes it.
            hit = broken[stretch]
            ends = (stretch[hit.argmax(axis=0)], stretch[len(stretch) - 1 - hit[::-1].argmax(axis=0)])
            for end in ends:
                kept[end, columns] |= broken[end, columns]
    return kept & measured


def _keep_ends(kept: np.ndarray, measured: np.ndarray, columns: np.ndarray) -> None:
    kept[measured.argmax(axis=0), columns] = True
    kept[len(measured) - 1 - measured[::-1].argmax(axis=0), columns] = True
