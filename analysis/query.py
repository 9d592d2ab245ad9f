"""SQL over a store: its tables as views of DuckDB, the answer as a DataFrame."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pandas as pd

from analysis.reading.sql.statement import one_select
from analysis.reading.sql.views import make_views

if TYPE_CHECKING:
    import duckdb

_ATTEMPTS = 5


def query(store: str | os.PathLike[str], sql: str) -> pd.DataFrame:
    """Return the answer of one SQL query.

    The tables ``layers``, ``histograms``, ``spectra``, ``steps`` and ``runs`` are there under their names, each with
    the column ``run``; a column that some runs lack is NULL for them. Only the parts, row groups and columns that the
    query needs are read; in a folder also the rows that a killed or live run has in its log and in no part yet.

    Nothing is written, and only the tables are read: the query reaches no other file and no network.

    Args:
        store: Folder or URL of the store.
        sql: One SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN) in DuckDB's SQL.

    Raises:
        ValueError: The store has no rows or a part that is no Parquet file, DuckDB is not installed, it refuses the
            query, or the query is no single SELECT.
        OSError: The store cannot be read.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ValueError("a query needs DuckDB: pip install 'meandrift[query]'") from error
    for attempt in range(_ATTEMPTS):
        try:
            with duckdb.connect() as connection:
                return _answer(connection, os.fspath(store), sql)
        except (duckdb.IOException, FileNotFoundError) as error:
            # A run that closes puts one part in the place of many between our listing and our reading: list again.
            if attempt == _ATTEMPTS - 1:
                raise OSError(f"store {os.fspath(store)!r} cannot be read: {error}") from error
            time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def _answer(connection: duckdb.DuckDBPyConnection, store: str, sql: str) -> pd.DataFrame:
    import duckdb

    tables: list[str] = []
    try:
        statement = one_select(sql)
        tables = make_views(connection, store, sql)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection.execute(statement).df()
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise ValueError(f"{error} (tables: {', '.join(tables) or 'not all could be opened'})") from error
