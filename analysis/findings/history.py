"""Comparisons with the past along the first dimension of an array: no record is compared with a later record."""

from __future__ import annotations

import numpy as np


def lasting(mask: np.ndarray, *, records: int) -> np.ndarray:
    """Return where a mask holds as part of at least ``records`` records in a row, same shape.

    >>> lasting(np.array([[True], [False], [True], [True]]), records=2)[:, 0].tolist()
    [False, False, True, True]
    """
    lasts = np.zeros_like(mask, dtype=bool)
    windows = len(mask) - records + 1
    if windows > 0:
        whole = np.logical_and.reduce([mask[i : i + windows] for i in range(records)])
        for i in range(records):
            lasts[i : i + windows] |= whole
    return lasts


def largest_before(values: np.ndarray) -> np.ndarray:
    """Return the largest value of all earlier records, without NaN; NaN where there is no such value.

    >>> largest_before(np.array([1.0, 3.0, np.nan, 2.0])).tolist()
    [nan, 1.0, 3.0, 3.0]
    """
    running = np.full(values.shape, np.nan)
    running[1:] = np.fmax.accumulate(values, axis=0)[:-1]
    return running


def first_measured(values: np.ndarray) -> np.ndarray:
    """Return the first value of each layer that is not NaN, ``(layers,)``; NaN where there is none."""
    measured = ~np.isnan(values)
    first = values[measured.argmax(axis=0), np.arange(values.shape[1])]
    return np.where(measured.any(axis=0), first, np.nan)


def ever(mask: np.ndarray) -> np.ndarray:
    """Return whether a mask holds at any record, ``(layers,)``."""
    return np.asarray(mask.any(axis=0))


def count_before(mask: np.ndarray) -> np.ndarray:
    """Return at how many earlier records a mask held, same shape, whole numbers."""
    counts = np.zeros(mask.shape, dtype=np.int64)
    counts[1:] = np.cumsum(mask, axis=0)[:-1]
    return counts


def always_before(mask: np.ndarray) -> np.ndarray:
    """Return whether a mask held at every earlier record, same shape; True at the first record."""
    before = np.ones(mask.shape, dtype=bool)
    before[1:] = np.logical_and.accumulate(mask, axis=0)[:-1]
    return before


def starting_with_zero(values: np.ndarray) -> np.ndarray:
    """Return the layers whose first measured value is 0, ``(layers,)``: zero-initialised layers if values are norms."""
    return np.asarray(first_measured(values) == 0)
