"""The first step and layer at which two runs differ, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.differences.cells import differing
from analysis.reading.store import AnyStore, Store
from probes import schema

TABLE, COLUMN, NAME, FIRST, SECOND, CHANGE, ROWS, OF = (
    "table",
    "column",
    "name",
    "first",
    "second",
    "change",
    "rows",
    "of",
)
RESULT = (schema.STEP, TABLE, NAME, COLUMN, FIRST, SECOND, CHANGE, ROWS, OF)
ONLY_IN_ONE = "(row)"  # instead of a column name: only one of the two runs has the row
TABLES = (schema.LAYERS, schema.PARAMETERS, schema.STEPS, schema.SPECTRA, schema.HISTOGRAMS)
_CLOCK = {"seconds"}  # wall-clock time: differs in every run
_NAMED_BY = (schema.LAYER, schema.PARAMETER, schema.SPLIT)
_ORDERED_BY = (schema.LAYER_INDEX, schema.PARAMETER_INDEX)
_FACTS = {schema.RUN, schema.EPOCH, schema.LAYER_INDEX, schema.LAYER_TYPE, schema.PARAMETER_INDEX}  # identify no row


def diff(
    first: str,
    second: str,
    *,
    store: AnyStore = "runs",
    second_store: AnyStore | None = None,
    rtol: float = 0.0,
    tables: Sequence[str] = TABLES,
) -> pd.DataFrame:
    """Return where two runs differ first: one row for each column that differs, the earliest step first.

    Rows are matched by step and layer (or parameter, or split), in whatever order they were recorded. Columns ``step``,
    ``name`` (the layer), ``table`` and ``column`` of the result name the first cell that differs. ``first`` and
    ``second`` are its values, None where it was not measured. ``change`` is ``|a - b| / max(|a|, |b|)``. ``rows`` is
    the number of rows that differ, ``of`` the number of rows compared. A row that only one of the runs has is listed as
    column ``(row)``. Wall-clock ``seconds`` are left out. Two equal runs give an empty table.

    Args:
        first: Id of a run.
        second: Id of the other run.
        store: Folder or URL of the store, or an open Store.
        second_store: Where the other run is, if it is in another store.
        rtol: Relative difference up to which two numbers count as equal; 0 finds a difference of one bit.
        tables: The tables to compare.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: There is no such run or table, or ``rtol`` is negative.
    """
    unknown = [table for table in tables if table not in TABLES]
    if unknown or rtol < 0:
        raise ValueError(f"tables {list(tables)}, rtol {rtol}: expected some of {', '.join(TABLES)}, and rtol >= 0.")
    stores = Store.open(store), Store.open(store if second_store is None else second_store)
    for opened, run in zip(stores, (first, second), strict=True):
        opened.run_ids([run])
    rows = [
        row
        for table in tables
        for row in _differences(table, _rows(stores[0], table, first), _rows(stores[1], table, second), rtol)
    ]
    found = pd.DataFrame(rows, columns=[*RESULT, "_order"]).sort_values([schema.STEP, "_order"], kind="stable")
    return found.drop(columns="_order").reset_index(drop=True)


def _rows(store: Store, table: str, run: str) -> pa.Table:
    """Return the rows of one run in the order of steps and layers; an empty table if the run has no rows."""
    if not store.rows(table, [run]):
        return schema.arrow_schema(table, ()).empty_table()
    rows = store.retrying(lambda: store.dataset(table, [run]).to_table()).combine_chunks()
    order = [(name, "ascending") for name in (schema.STEP, *_ORDERED_BY) if name in rows.column_names]
    return rows.sort_by(order)


def _differences(table: str, first: pa.Table, second: pa.Table, rtol: float) -> Iterator[dict[str, Any]]:
    keys = [column.name for column in schema.KEYS[table] if column.name not in _FACTS]
    indices = _index(first, keys), _index(second, keys)
    places = indices[1].get_indexer(indices[0])
    in_both = np.flatnonzero(places >= 0)
    yield from _single_rows(table, first, np.flatnonzero(places < 0), present=FIRST)
    yield from _single_rows(table, second, np.flatnonzero(indices[0].get_indexer(indices[1]) < 0), present=SECOND)
    matched = first.take(pa.array(in_both)), second.take(pa.array(places[in_both]))
    passed_over = {*keys, *_FACTS, *_CLOCK}
    for column in dict.fromkeys([*first.column_names, *second.column_names]):
        if column not in passed_over and len(in_both):
            yield from _first_difference(table, column, *matched, rtol)


def _index(rows: pa.Table, keys: list[str]) -> pd.MultiIndex:
    """Return an index that tells the rows apart: the keys, and a count for rows that a program has written twice."""
    frame = rows.select(keys).to_pandas()
    frame = frame.astype({name: str for name in keys if name != schema.STEP})
    return pd.MultiIndex.from_frame(frame.assign(count=frame.groupby(keys).cumcount()))


def _first_difference(
    table: str, column: str, first: pa.Table, second: pa.Table, rtol: float
) -> Iterator[dict[str, Any]]:
    cells = [_cells(rows, column) for rows in (first, second)]
    found = np.flatnonzero(differing(cells[0], cells[1], rtol=rtol))
    if found.size:
        a, b = (each[int(found[0])].as_py() for each in cells)
        yield _row(table, first, int(found[0]), column, (a, b), rows=found.size, of=first.num_rows)


def _cells(rows: pa.Table, column: str) -> pa.ChunkedArray:
    return rows[column] if column in rows.column_names else pa.chunked_array([pa.nulls(rows.num_rows)])


def _single_rows(table: str, rows: pa.Table, places: np.ndarray, *, present: str) -> Iterator[dict[str, Any]]:
    if places.size:
        values = (present == FIRST, present == SECOND)
        yield _row(table, rows, int(places[0]), ONLY_IN_ONE, values, rows=places.size, of=rows.num_rows)


def _row(
    table: str, among: pa.Table, place: int, column: str, values: tuple[Any, Any], *, rows: int, of: int
) -> dict[str, Any]:
    key = {name: among[name][place].as_py() for name in among.column_names if name in {*_NAMED_BY, *_ORDERED_BY}}
    return {
        schema.STEP: among[schema.STEP][place].as_py(),
        TABLE: table,
        NAME: next((key[name] for name in _NAMED_BY if name in key), ""),
        COLUMN: column,
        FIRST: values[0],
        SECOND: values[1],
        CHANGE: _change(*values),
        ROWS: rows,
        OF: of,
        "_order": next((key[name] for name in _ORDERED_BY if name in key), 0),
    }


def _change(a: Any, b: Any) -> float:
    """Return ``|a - b| / max(|a|, |b|)``; NaN unless both are numbers."""
    if isinstance(a, bool) or not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
        return float("nan")
    largest = max(abs(a), abs(b))
    return abs(a - b) / largest if largest else 0.0
