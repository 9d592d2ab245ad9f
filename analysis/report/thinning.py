"""The records of a line that a chart needs: extremes, ends, NaN, and the steps of findings."""

from __future__ import annotations

import numpy as np

FEWEST_POINTS = 50


def points_a_line(lines: int, *, budget: int, most: int) -> int:
    """Return how many points each of so many lines may have; at least ``FEWEST_POINTS``, at most ``most``."""
    return min(most, max(FEWEST_POINTS, budget // max(lines, 1)))


def kept_records(values: np.ndarray, measured: np.ndarray, *, most: int, always: np.ndarray) -> np.ndarray:
    """Return the points that stay of each column of a matrix, same shape, bool.

    Of up to ``most`` records all stay. More are cut into stretches of equal length. Of each stretch the smallest and
    the largest value stay, and the first and the last that is not finite; so do the first and the last record.

    Args:
        values: ``(records, lines)``.
        measured: Whether there is a value, same shape; where there is none nothing stays.
        most: About as many points a line, without those that are not finite and those of ``always``.
        always: Whether all that was measured at a record stays, ``(records,)``.
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
            # Where none is, the first record of the stretch is taken: only what is broken is let through.
            hit = broken[stretch]
            ends = (stretch[hit.argmax(axis=0)], stretch[len(stretch) - 1 - hit[::-1].argmax(axis=0)])
            for end in ends:
                kept[end, columns] |= broken[end, columns]
    return kept & measured


def _keep_ends(kept: np.ndarray, measured: np.ndarray, columns: np.ndarray) -> None:
    kept[measured.argmax(axis=0), columns] = True
    kept[len(measured) - 1 - measured[::-1].argmax(axis=0), columns] = True
