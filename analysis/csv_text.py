"""A table as CSV, in which spreadsheets read no text as a formula."""

from __future__ import annotations

from typing import Any

import pandas as pd

from probes.schema.printable import without_formula


def as_csv(table: pd.DataFrame, **options: Any) -> str:
    """Return a table as CSV.

    Spreadsheets run text that begins with ``=``. Such text gets an apostrophe before it.

    Args:
        table: Any table.
        options: Passed on to :meth:`pandas.DataFrame.to_csv`.
    """
    safe = pd.DataFrame({place: _safe(table.iloc[:, place]) for place in range(table.shape[1])}, index=table.index)
    names = [without_formula(str(name)) for name in table.columns]
    text: str = safe.to_csv(index=False, header=names, lineterminator="\n", **options)
    return text


def _safe(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    return column.astype(object).map(lambda cell: without_formula(cell) if isinstance(cell, str) else cell)
