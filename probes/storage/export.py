"""Export a table for other programs: to one Parquet file, CSV, or a TensorBoard log folder.

Rows that are only in the log of a killed or a living writer are exported like all others. Damaged files are named and
left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from probes import schema
from probes.schema.part_checks import reading_problem
from probes.schema.printable import without_formula
from probes.storage.damage import DamagedFileError, reason
from probes.storage.files import StoreFiles
from probes.storage.parts import fitted, write_parquet
from probes.storage.recovery import RunRows, rows_of

log = logging.getLogger("meandrift")


def export(files: StoreFiles, destination: Path, *, table: str, kind: str, runs: Sequence[str] | None = None) -> int:
    """Write the rows of a table, of all or some runs, run after run in step order.

    Args:
        files: The store.
        destination: The new file, or for TensorBoard the new folder. It must not exist.
        table: Any table of the store.
        kind: ``parquet``, ``csv`` or ``tensorboard``.
        runs: Run ids; None takes all.

    Returns:
        Number of rows written.

    Raises:
        ValueError: The table or kind is unknown, a run or the table has no rows, or TensorBoard is not installed.
        FileExistsError: The destination exists.
        FileNotFoundError: The folder of the destination does not exist.
    """
    if table not in schema.TABLES or kind not in _WRITERS:
        raise ValueError(
            f"cannot export table {table!r} as {kind!r}: tables are {', '.join(schema.TABLES)}, "
            f"kinds are {', '.join(_WRITERS)}"
        )
    if destination.exists():
        raise FileExistsError(f"{destination} exists: choose another name, or delete it first")
    wanted = sorted({*files.runs(), *files.workspaces()}) if runs is None else list(runs)
    rows = {run: rows_of(files, table, run) for run in wanted}
    absent = [run for run, found in rows.items() if not any(found)]
    if len(absent) == len(rows) or (runs is not None and absent):
        raise ValueError(f"store {files.name}: no rows of {table!r} for {', '.join(absent) or 'any run'}")
    return _WRITERS[kind](files, destination, table, rows)


def _export_parquet(files: StoreFiles, destination: Path, table: str, runs: dict[str, RunRows]) -> int:
    return _whole(destination, lambda unfinished: _write_one_parquet(files, unfinished, table, runs))


def _write_one_parquet(files: StoreFiles, path: Path, table: str, runs: dict[str, RunRows]) -> int:
    joined = _joined_schema(files, table, runs)
    counted = _Counted(_rows(files, table, runs, joined))
    write_parquet(path, counted, joined)
    return counted.rows


def _export_csv(files: StoreFiles, destination: Path, table: str, runs: dict[str, RunRows]) -> int:
    return _whole(destination, lambda unfinished: _write_csv(files, unfinished, table, runs))


def _write_csv(files: StoreFiles, path: Path, table: str, runs: dict[str, RunRows]) -> int:
    joined = _joined_schema(files, table, runs)
    text = pa.schema([pa.field(without_formula(column.name), _text_type(column.type)) for column in joined])
    counted = _Counted(_rows(files, table, runs, joined))
    with pa.csv.CSVWriter(path, text) as writer:
        for rows in counted:
            columns = [_as_text(rows.column(place), column.type) for place, column in enumerate(text)]
            writer.write_table(pa.Table.from_arrays(columns, schema=text))
    return counted.rows


def _export_tensorboard(files: StoreFiles, destination: Path, table: str, runs: dict[str, RunRows]) -> int:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("export to TensorBoard needs its package: pip install tensorboard") from error
    from probes.mirrors.tensorboard import add_row

    if table in {schema.RUNS, schema.SPECTRA}:
        raise ValueError(f"table {table!r} holds nothing TensorBoard draws; export layers, steps or histograms")
    joined = _joined_schema(files, table, runs)
    written = 0
    for run, own in runs.items():
        with SummaryWriter(str(destination / run)) as writer:
            for rows in _rows(files, table, {run: own}, joined):
                for row in rows.to_pylist():
                    add_row(writer, table, row)
                written += rows.num_rows
    return written


_WRITERS: dict[str, Callable[[StoreFiles, Path, str, dict[str, RunRows]], int]] = {
    "parquet": _export_parquet,
    "csv": _export_csv,
    "tensorboard": _export_tensorboard,
}


class _Counted:
    """Counts the rows of the tables that pass through."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self.rows = tables, 0

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self._tables:
            self.rows += table.num_rows
            yield table


def _whole(destination: Path, write: Callable[[Path], int]) -> int:
    """Write beside the destination, then rename.

    A file under that name is therefore finished.
    """
    if not destination.parent.is_dir():
        raise FileNotFoundError(
            f"no folder {str(destination.parent)!r} to write {destination.name!r} to: make it first"
        )
    unfinished = destination.with_name(f"_{destination.name}.unfinished")
    try:
        rows = write(unfinished)
        unfinished.replace(destination)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _joined_schema(files: StoreFiles, table: str, runs: dict[str, RunRows]) -> pa.Schema:
    """Return the columns of all rows.

    Parts that cannot be read, or contradict other parts, are removed from ``runs``.
    """
    logged = [rows.schema for own in runs.values() for rows in own.logged]
    joined = schema.unified(logged) if logged else pa.schema([])
    for run, own in runs.items():
        for name in list(own.parts):
            try:
                with files.open_part(table, run, name) as part:
                    stored = part.schema_arrow
                schema.check_readable(stored.metadata, f"{files.folder(table, run)}/{name}")
                if problem := reading_problem(table, stored):
                    raise DamagedFileError(f"{files.folder(table, run)}/{name} cannot be read: {problem}")
                joined = schema.unified([joined, stored])
            except OSError as error:
                log.warning("left out: %s", reason(error))
                own.parts.remove(name)
    columns = [column for column in joined if column.name != schema.RUN and schema.is_recorded(column)]
    return pa.schema([pa.field(schema.RUN, pa.string()), *columns], metadata=joined.metadata)


def _rows(files: StoreFiles, table: str, runs: dict[str, RunRows], joined: pa.Schema) -> Iterator[pa.Table]:
    for run, own in runs.items():
        for rows in chain(_rows_of_parts(files, table, run, own.parts), own.logged):
            own_rows = rows.drop_columns([schema.RUN]) if schema.RUN in rows.column_names else rows
            yield fitted(own_rows.append_column(schema.RUN, pa.array([run] * rows.num_rows, pa.string())), joined)


def _rows_of_parts(files: StoreFiles, table: str, run: str, names: list[str]) -> Iterator[pa.Table]:
    for name in names:
        try:
            with files.open_part(table, run, name) as part:
                for index in range(part.num_row_groups):
                    yield part.read_row_group(index)
        except DamagedFileError as error:
            log.warning("left out, from its damage on: %s", error)


def _text_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind):
        return pa.string()
    return kind


def _as_text(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_list(values.type):
        lists = [None if row is None else " ".join(map(str, row)) for row in values.to_pylist()]
        return pa.chunked_array([pa.array(lists, kind)])
    plain = values.cast(kind)
    if not pa.types.is_string(kind):
        return plain
    is_formula = pc.match_substring_regex(plain, r"^[=+\-@\t\r\n]")  # as in `without_formula`
    return pc.if_else(is_formula, pc.binary_join_element_wise("'", plain, ""), plain)
