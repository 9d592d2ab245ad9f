"""A store's tables as views of DuckDB: Parquet parts where they lie, and the rows of logs copied into its memory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from analysis.reading.files.local_files import is_part, is_run_folder
from analysis.reading.files.recorded_rows import RunRows, find_rows, fitting, runs_of
from analysis.reading.table_dataset import BY_RUN
from probes import schema

if TYPE_CHECKING:
    import duckdb

_LOGGED = "logged"  # DuckDB's schema for rows that are in no part yet


def make_views(connection: duckdb.DuckDBPyConnection, store: str, sql: str) -> list[str]:
    """Make a view of each table that a query needs, and return the names of all there are.

    Args:
        connection: A fresh connection. Without access to files it still reaches the parts of these tables.
        store: Folder or URL of the store.
        sql: The query.

    Raises:
        FileNotFoundError: A part went while it was opened.
        ValueError: The store has no rows, or a part is no Parquet file.
    """
    if "://" not in store:
        return _make_local_views(connection, store, sql)
    filesystem, root = _remote(store)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return _make_local_views(connection, root, sql)
    parts = {table: _parts(filesystem, f"{root}/{table}") for table in schema.TABLES}
    present = [table for table, paths in parts.items() if paths]
    if not present:
        raise ValueError(
            f"store {store!r} has no part of any table: check the URL; rows of a run that is recorded, or was killed, "
            "wait on its machine for a flush or 'meandrift recover'"
        )
    for table in _needed(present, sql):
        connection.register(table, _dataset(filesystem, parts[table]))
    return present


def _make_local_views(connection: duckdb.DuckDBPyConnection, store: str, sql: str) -> list[str]:
    root = os.path.abspath(store)  # noqa: PTH100  # as DuckDB wants it: a string
    present = [table for table in schema.TABLES if Path(root).is_dir() and runs_of(root, table)]
    if not present:
        raise ValueError(f"store {store!r} is empty: no run has recorded anything yet; check the path")
    connection.execute(f"CREATE SCHEMA {_LOGGED}")
    reachable: list[str] = []
    for table in _needed(present, sql):
        found = find_rows(root, table)
        paths = [str(part) for rows in found for part in rows.parts]
        sources = [_of_parts(paths)] if paths else []
        if any(rows.segments for rows in found):
            sources.append(_of_log(connection, table, found))
        if sources:
            rows = " UNION ALL BY NAME ".join(sources)
            connection.execute(f"CREATE VIEW {table} AS SELECT * EXCLUDE (run), run FROM ({rows})")
        reachable += dict.fromkeys((*paths, *map(_literal, paths)))
    connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, reachable))}]")
    return present


def _needed(tables: list[str], sql: str) -> list[str]:
    """Return the tables that a query names, or all if it names none, as SHOW TABLES: a view opens all its files."""
    return [table for table in tables if re.search(rf"\b{table}\b", sql, re.IGNORECASE)] or tables


def _of_parts(paths: list[str]) -> str:
    # DuckDB opens every file to unite columns by name, ten times slower than pyarrow opens them to see if it must.
    differ = len({_columns(path) for path in paths}) > 1
    return (
        f"SELECT * FROM read_parquet([{', '.join(_quoted(_literal(path)) for path in paths)}], "
        f"hive_partitioning = true, hive_types = {{'run': VARCHAR}}, union_by_name = {str(differ).lower()})"
    )


def _of_log(connection: duckdb.DuckDBPyConnection, table: str, found: list[RunRows]) -> str:
    """Copy the rows of a table's logs into DuckDB, so that nothing of the log's is open while the query runs."""
    kept, _ = fitting([segment for rows in found for segment in rows.segments], pa.schema([]))
    logged = pa.concat_tables([segment.rows for segment in kept], promote_options="permissive")
    connection.register(_LOGGED, logged)
    connection.execute(f"CREATE TABLE {_LOGGED}.{table} AS SELECT * FROM {_LOGGED}")
    connection.unregister(_LOGGED)
    return f"SELECT * FROM {_LOGGED}.{table}"


def _parts(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    found: dict[str, list[str]] = {}
    for info in infos:
        if info.is_file and is_part(info.base_name):
            found.setdefault(info.path.rpartition("/")[0], []).append(info.path)
    return sorted(path for parent in found if is_run_folder(parent) for path in found[parent])


def _columns(path: str) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no readable Parquet file: {error}") from error


def _dataset(filesystem: pafs.FileSystem, paths: list[str]) -> ds.Dataset:
    dataset = ds.dataset(paths, filesystem=filesystem, format="parquet", partitioning=BY_RUN)
    found = [fragment.physical_schema for fragment in dataset.get_fragments()]
    return dataset.replace_schema(pa.unify_schemas([dataset.schema, *found], promote_options="permissive"))


def _remote(url: str) -> tuple[pafs.FileSystem, str]:
    try:
        return pafs.FileSystem.from_uri(url)
    except ValueError:  # a scheme unknown to pyarrow: fsspec may know it
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # ships no type hints

        filesystem, path = url_to_fs(url)
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


def _literal(path: str) -> str:
    """Return a path in which DuckDB sees no pattern: ``runs*`` is one store, not all that begin so."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _quoted(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
