"""The order of rows: files hold them as they were recorded, a reader gets them by run, step and split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from probes.schema import RUN, SPLIT, STEP


def row_order(rows: pd.DataFrame, *, by_split: bool = False) -> np.ndarray | None:
    """Return row numbers in the order of runs, steps and, if asked for, splits; None if rows are in this order.

    Numbers of one split, such as a validation, may be recorded after later steps of another split. Runs keep the order
    of their first rows. Splits are ordered by name. Rows with the same run, step and split keep the recorded order.

    Args:
        rows: Rows of a table, with a new index from 0. A table without runs or steps gives None.
        by_split: Whether the split counts.
    """
    if not {RUN, STEP} <= set(rows):
        return None
    keys = [pd.factorize(rows[RUN])[0], rows[STEP].to_numpy()]
    if by_split and SPLIT in rows:
        keys.append(pd.factorize(rows[SPLIT].astype(str), sort=True)[0])
    falls = np.zeros(max(len(rows) - 1, 0), dtype=bool)
    for key in reversed(keys):  # a row comes too early if a key falls where all keys before it are equal
        falls = (key[1:] < key[:-1]) | ((key[1:] == key[:-1]) & falls)
    return np.lexsort(keys[::-1]) if falls.any() else None
