"""One table of a store as one Arrow data set: parts and log rows, run by run, with one schema."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from analysis.reading.files.recorded_rows import RunRows, Segment, fitting
from probes import schema

BY_RUN = ds.partitioning(pa.schema([(schema.RUN, pa.string())]), flavor="hive")


def united(found: Sequence[RunRows], table: str, filesystem: pafs.FileSystem | None = None) -> ds.Dataset:
    """Return rows of a table, with the column ``run`` and every column that a part or a log of the runs has.

    Rows come run by run, in the order in which they were recorded. Those of the log are in memory, and as they would be
    in a part: words are dictionary-encoded, absent columns null.

    Args:
        found: Where the rows stand; at least one run.
        table: The table.
        filesystem: Where the parts are; None is this machine.

    Raises:
        FileNotFoundError: A part went while it was opened.
    """
    parts = _parts([part for rows in found for part in rows.parts], filesystem)
    if parts is not None and not any(rows.segments for rows in found):
        return parts
    logged = [_as_in_a_part(segment, table) for rows in found for segment in rows.segments]
    kept, whole = fitting(logged, parts.schema if parts is not None else pa.schema([]))
    return _together(found, parts, {segment.path: _fitted(segment.rows, whole) for segment in kept}, whole)


def _parts(files: list[str], filesystem: pafs.FileSystem | None) -> ds.FileSystemDataset | None:
    if not files:
        return None
    # Only what stands below the table is a partition: the store may lie in a folder named lr=0.5, or run=3.
    table = files[0].replace(os.sep, "/").rsplit("/", 2)[0]
    dataset = ds.dataset(files, filesystem=filesystem, format="parquet", partitioning=BY_RUN, partition_base_dir=table)
    # A column that began to be recorded later is absent from earlier parts: take the union, absent means null.
    found = [fragment.physical_schema for fragment in dataset.get_fragments()]
    return dataset.replace_schema(schema.unified([dataset.schema, *found]))


def _as_in_a_part(segment: Segment, table: str) -> Segment:
    rows = segment.rows
    for key in schema.KEYS[table]:
        place = rows.schema.get_field_index(key.name)
        if place >= 0 and pa.types.is_dictionary(key.type):
            rows = rows.set_column(place, key.arrow_field(), rows.column(place).dictionary_encode())
    return replace(segment, rows=rows)


def _fitted(rows: pa.Table, whole: pa.Schema) -> pa.Table:
    columns = [
        rows[column.name].cast(column.type, safe=False)
        if column.name in rows.column_names
        else pa.nulls(rows.num_rows, column.type)
        for column in whole
    ]
    return pa.Table.from_arrays(columns, schema=whole)


def _together(
    found: Sequence[RunRows], parts: ds.FileSystemDataset | None, logged: dict[Path, pa.Table], whole: pa.Schema
) -> ds.Dataset:
    """Return parts and logs in the order of runs; neighbouring parts make one dataset, for there may be many."""
    fragments = iter(parts.get_fragments() if parts is not None else ())
    pieces: list[ds.Dataset] = []
    pending: list[ds.Fragment] = []
    for rows in found:
        pending += [next(fragments) for _ in rows.parts]
        in_log = [logged[segment.path] for segment in rows.segments if segment.path in logged]
        if in_log:
            pieces += [_of_fragments(pending, parts, whole)] if pending else []
            pieces.append(ds.InMemoryDataset(pa.concat_tables(in_log)))
            pending = []
    pieces += [_of_fragments(pending, parts, whole)] if pending else []
    return ds.UnionDataset(whole, pieces)


def _of_fragments(fragments: list[ds.Fragment], parts: ds.FileSystemDataset | None, whole: pa.Schema) -> ds.Dataset:
    assert parts is not None
    return ds.FileSystemDataset(fragments, whole, parts.format, parts.filesystem)
