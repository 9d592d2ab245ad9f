"""SQL queries over a store, answered as DataFrames."""

from __future__ import annotations

import pandas as pd

from analysis.reading.sql.statement import one_select
from analysis.reading.sql.views import make_views
from analysis.reading.store import AnyStore, Store


def query(store: AnyStore, sql: str) -> pd.DataFrame:
    """Return the answer of one SQL query.

    The tables ``layers``, ``histograms``, ``spectra``, ``steps`` and ``runs`` can be queried under their names, each
    with the column ``run``. A column that some runs lack is NULL in their rows. Only the parts, row groups and columns
    that the query needs are read. In a folder, rows of a killed or live run that are still in its log are read too.

    Nothing is written, and only the tables are read: the query reaches no other file and no network.

    Args:
        store: Folder or URL of the store, or an open Store.
        sql: One SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN) in DuckDB's SQL.

    Raises:
        ValueError: The store has no rows, DuckDB is not installed, DuckDB refuses the query, or the query is no single
            SELECT.
        OSError: The store cannot be read.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ValueError("a query needs DuckDB: pip install 'meandrift[query]'") from error
    opened, unreadable = Store.open(store), (FileNotFoundError, duckdb.IOException)
    try:
        return opened.retrying(lambda: _answer(opened, sql), vanished=unreadable)
    except unreadable as error:
        raise OSError(f"store {str(opened)!r} cannot be read: {error}") from error


def _answer(store: Store, sql: str) -> pd.DataFrame:
    import duckdb

    tables: list[str] = []
    statement = one_select(sql)
    try:
        with duckdb.connect() as connection:
            tables = make_views(connection, store, sql)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            return connection.execute(statement).df()
    except duckdb.IOException:
        store.leave_out_damaged()
        raise
    except duckdb.Error as error:
        if (part := store.vanished_part()) is not None:  # DuckDB takes a missing file for a pattern, and refuses it
            raise FileNotFoundError(f"{part} went while it was read") from error
        about_query = (
            duckdb.BinderException,
            duckdb.CatalogException,
            duckdb.ConversionException,
            duckdb.ParserException,
        )
        if not isinstance(error, about_query) and store.leave_out_damaged():
            raise FileNotFoundError("a damaged part is left out: the rest is read again") from error
        raise ValueError(f"{error} (tables: {', '.join(tables) or 'not all could be opened'})") from error
