"""The rows of one split, tensor or view."""

from __future__ import annotations

import pandas as pd


def having(rows: pd.DataFrame, column: str, value: str, *, what: str) -> pd.DataFrame:
    """Return the rows in which a column of names has a value.

    Args:
        rows: A table with the column.
        column: The column, such as ``split``.
        value: The name to keep.
        what: Content of such rows, for the message: ``"accuracy on split"``.

    Raises:
        ValueError: There is none; the message lists the names there are.
    """
    found = rows[rows[column] == value]
    if found.empty:
        names = ", ".join(sorted(rows[column].astype(str).unique())) or "none"
        raise ValueError(f"no {what} {value!r}; the store has: {names}")
    return found
