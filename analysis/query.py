"""SQL over a store: its tables as views of DuckDB, the answer as a DataFrame."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from probes import schema

if TYPE_CHECKING:
    import duckdb

_ATTEMPTS = 5


def query(store: str | os.PathLike[str], sql: str) -> pd.DataFrame:
    """Return the answer of one SQL query.

    The tables ``layers``, ``histograms``, ``spectra``, ``steps`` and ``runs`` are there under their names, each with
    the column ``run``; a column that some runs lack is NULL for them. Only the parts, row groups and columns that the
    query needs are read. Only the store is read: the query reaches no other file and no network.

    Args:
        store: Folder or URL of the store.
        sql: One query in DuckDB's SQL.

    Raises:
        ValueError: The store has no rows or a part that is no Parquet file, DuckDB is not installed, or it refuses the
            query.
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
        tables = _make_views(connection, store, sql)
        answer = connection.sql(sql)
        return pd.DataFrame() if answer is None else answer.df()
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise ValueError(f"{error} (tables: {', '.join(tables) or 'not all could be opened'})") from error


def _make_views(connection: duckdb.DuckDBPyConnection, store: str, sql: str) -> list[str]:
    """Make a view of each table that the query names, and return the names of all there are."""
    if "://" in store:
        filesystem, root = _remote(store)
    else:
        filesystem, root = pafs.LocalFileSystem(), os.path.abspath(store)  # noqa: PTH100  # as DuckDB wants it: a string
    parts = {table: _parts(filesystem, f"{root}/{table}") for table in schema.TABLES}
    present = {table: paths for table, paths in parts.items() if paths}
    if not present:
        raise ValueError(f"store {store!r} has no finished part of any table: check the path, or flush the run")
    for table, paths in present.items():
        if not re.search(rf"\b{table}\b", sql, re.IGNORECASE):
            continue  # a view opens every file of its table
        if isinstance(filesystem, pafs.LocalFileSystem):
            _view_of_files(connection, table, paths)
        else:
            connection.register(table, _dataset(filesystem, paths))
    if isinstance(filesystem, pafs.LocalFileSystem):
        connection.execute(f"SET allowed_directories = [{_quoted(root + '/')}]")
        connection.execute("SET enable_external_access = false")
    return list(present)


def _parts(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    names = [(info.path, info.base_name) for info in infos if info.is_file]
    return sorted(path for path, name in names if name.endswith(".parquet") and not name.startswith(("_", ".")))


def _view_of_files(connection: duckdb.DuckDBPyConnection, table: str, paths: list[str]) -> None:
    listed = ", ".join(map(_quoted, paths))
    # DuckDB opens every file to unite columns by name, ten times slower than pyarrow opens them to see if it must.
    differ = len({_columns(path) for path in paths}) > 1
    connection.execute(
        f"CREATE VIEW {table} AS SELECT * FROM read_parquet([{listed}], "
        f"hive_partitioning = true, hive_types = {{'run': VARCHAR}}, union_by_name = {str(differ).lower()})"
    )


def _columns(path: str) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no readable Parquet file: {error}") from error


def _dataset(filesystem: pafs.FileSystem, paths: list[str]) -> ds.Dataset:
    by_run = ds.partitioning(pa.schema([(schema.RUN, pa.string())]), flavor="hive")
    dataset = ds.dataset(paths, filesystem=filesystem, format="parquet", partitioning=by_run)
    found = [fragment.physical_schema for fragment in dataset.get_fragments()]
    return dataset.replace_schema(pa.unify_schemas([dataset.schema, *found], promote_options="permissive"))


def _remote(url: str) -> tuple[pafs.FileSystem, str]:
    try:
        return pafs.FileSystem.from_uri(url)
    except ValueError:  # a scheme unknown to pyarrow: fsspec may know it
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # ships no type hints

        filesystem, path = url_to_fs(url)
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


def _quoted(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
