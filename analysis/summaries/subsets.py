"""The rows of one split, tensor or view, those in which a column was measured, and the steps that all runs have."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.reading.tables import mark_of
from probes.schema import RUN, STEP


def having(rows: pd.DataFrame, column: str, value: str, *, what: str) -> pd.DataFrame:
    """Return the rows in which a column of names has a value.

    Args:
        rows: A table with the column.
        column: The column, such as ``split``.
        value: The name to keep.
        what: Content of such rows, for the message: ``"accuracy on split"``.

    Raises:
        ValueError: There is no such row; the message lists the valid names.
    """
    found = rows[rows[column] == value]
    if found.empty:
        names = ", ".join(sorted(rows[column].astype(str).unique())) or "none"
        raise ValueError(f"no {what} {value!r}; the store has: {names}")
    return found


def was_measured(rows: pd.DataFrame, *columns: str) -> pd.Series:
    """Return the rows in which each of the columns was measured, a measured NaN included.

    A missing column gives False in all rows.

    A null and a NaN look alike in pandas: the rows must come from :func:`analysis.reading.tables.load` with ``mark``.
    Without marks a NaN counts as not measured.
    """
    found = pd.Series(True, rows.index)
    for name in columns:
        marked = mark_of(name)
        found &= rows[marked].astype(bool) if marked in rows else rows[name].notna() if name in rows else False
    return found


def without_marks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the columns that say where others were measured."""
    return rows.drop(columns=[mark_of(name) for name in rows.columns if mark_of(name) in rows])


def common_steps(rows: pd.DataFrame, *, what: str) -> np.ndarray:
    """Return the steps at which every run has a row, ascending: records of different steps cannot be compared.

    Args:
        rows: A table with ``run`` and ``step``.
        what: Content of the rows, for the message: ``"operator norms"``.

    Raises:
        ValueError: There is no such step, or it is only the first record although there are later records.
    """
    steps = {str(run): set(of_run[STEP]) for run, of_run in rows.groupby(RUN, observed=True)}
    common = np.sort(np.array(list(set.intersection(*steps.values())) if steps else [], dtype="int64"))
    first, last = int(rows[STEP].min()), int(rows[STEP].max())
    if not len(common) or (common[-1] == first and last > first):
        ends = ", ".join(f"{run} at {min(of_run)} to {max(of_run)}" for run, of_run in sorted(steps.items()))
        raise ValueError(
            f"the runs have no step after the first in common at which {what} were recorded ({ends}): "
            f"records of different steps do not compare; choose runs of one schedule with runs="
        )
    return common


def at_last_common_step(rows: pd.DataFrame, *, what: str) -> pd.DataFrame:
    """Return the rows of the last step that every run has; arguments and errors as :func:`common_steps`."""
    return rows[rows[STEP] == common_steps(rows, what=what)[-1]]
