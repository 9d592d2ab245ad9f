"""The tables of a store as DuckDB views. Parquet parts are read in place; rows of logs are copied into memory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis.reading.files.parquet_parts import fragments_of
from analysis.reading.files.recorded_rows import RunRows, fitting
from analysis.reading.store import Store
from probes import schema

if TYPE_CHECKING:
    import duckdb

_LOGGED = "logged"  # the schema in DuckDB for rows that are in no part yet
_PART = "path of the part"  # a column that DuckDB adds; no column of a store has this name
_RUN_OF_PART = r"[/\\]run=([^/\\]*)[/\\][^/\\]*$"


def make_views(connection: duckdb.DuckDBPyConnection, store: Store, sql: str) -> list[str]:
    """Make a view of each table that a query needs, and return the names of all tables of the store.

    Args:
        connection: A fresh connection. It still reaches the parts of these tables after its access to files is switched
            off.
        store: The store.
        sql: The query.

    Raises:
        FileNotFoundError: A part vanished while it was opened.
        ValueError: The store has no rows.
    """
    present = store.tables() if store.exists() else []
    if not present:
        raise ValueError(store.why_empty())
    if store.folder is not None:
        _make_local_views(connection, store, _needed(present, sql))
    else:
        for table in _needed(present, sql):
            connection.register(table, store.dataset(table))
    return present


def _make_local_views(connection: duckdb.DuckDBPyConnection, store: Store, tables: list[str]) -> None:
    connection.execute(f"CREATE SCHEMA {_LOGGED}")
    reachable: list[str] = []
    for table in tables:
        found = store.rows(table)
        parts = fragments_of([part for rows in found for part in rows.parts], table, None)
        paths = [os.path.abspath(part) for part in parts]  # noqa: PTH100  # as DuckDB wants it
        columns = {frozenset(part.physical_schema.names) for part in parts.values()}
        sources = [_of_parts(paths, columns)] if paths else []
        if any(rows.segments for rows in found):
            sources.append(_of_log(connection, table, found))
        if sources:
            rows = " UNION ALL BY NAME ".join(sources)
            connection.execute(f"CREATE VIEW {table} AS SELECT * EXCLUDE (run), run FROM ({rows})")
        reachable += dict.fromkeys((*paths, *map(_literal, paths)))
    connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, reachable))}]")


def _needed(tables: list[str], sql: str) -> list[str]:
    """Return the tables that a query names, or all if it names none (SHOW TABLES): other views would open files."""
    return [table for table in tables if re.search(rf"\b{table}\b", sql, re.IGNORECASE)] or tables


def _of_parts(paths: list[str], columns: set[frozenset[str]]) -> str:
    # Uniting columns by name makes DuckDB open every file, which takes ten times as long as pyarrow's check whether
    # columns differ.
    own = ", run" if any(schema.RUN in names for names in columns) else ""  # if a file was not written by a probe
    # DuckDB would take each k=v in a path for a partition, also the folder lr=0.5 that the store lies in.
    return (
        f'SELECT * EXCLUDE ("{_PART}"{own}), regexp_extract("{_PART}", {_quoted(_RUN_OF_PART)}, 1) AS run '
        f"FROM read_parquet([{', '.join(_quoted(_literal(path)) for path in paths)}], hive_partitioning = false, "
        f"filename = {_quoted(_PART)}, union_by_name = {str(len(columns) > 1).lower()})"
    )


def _of_log(connection: duckdb.DuckDBPyConnection, table: str, found: list[RunRows]) -> str:
    """Copy the rows of a table's logs into DuckDB, so that no file of the log is open while the query runs."""
    kept, _ = fitting([segment for rows in found for segment in rows.segments], pa.schema([]))
    logged = pa.concat_tables([segment.rows for segment in kept], promote_options="permissive")
    connection.register(_LOGGED, logged)
    connection.execute(f"CREATE TABLE {_LOGGED}.{table} AS SELECT * FROM {_LOGGED}")
    connection.unregister(_LOGGED)
    return f"SELECT * FROM {_LOGGED}.{table}"


def _literal(path: str) -> str:
    """Return a path in which DuckDB sees no pattern: ``runs*`` is then one store, not all that match it."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _quoted(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
