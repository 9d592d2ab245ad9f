"""One table of a store as one Arrow data set: parts and log rows, run by run, with one schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from analysis.reading.files.parquet_parts import fragments_of, joined_schema
from analysis.reading.files.recorded_rows import RunRows, Segment, fitting
from probes import schema

# pyarrow's defaults read whole files ahead, 16 batches at a time: 60 MB for an answer of half a megabyte.
FRUGALLY: dict[str, Any] = {
    "fragment_scan_options": ds.ParquetFragmentScanOptions(pre_buffer=False, page_checksum_verification=True),
    "batch_readahead": 2,
    "fragment_readahead": 1,
    "batch_size": 1 << 15,
}


def united(found: Sequence[RunRows], table: str, filesystem: pafs.FileSystem | None = None) -> ds.Dataset | None:
    """Return rows of a table, with the column ``run`` and every column that a part or a log of the runs has.

    Rows come run by run, in the order in which they were recorded. Rows of the log are in memory and have the form of a
    part: texts are dictionary-encoded, and absent columns are null. Parts and segments that cannot be read are left out
    with a warning. The result is None if nothing else is there.

    Args:
        found: The parts and segments with the rows of at least one run.
        table: The table.
        filesystem: The file system of the parts; None is that of this machine.

    Raises:
        FileNotFoundError: A part vanished while it was opened.
        NewerSchemaError: A part was written under a later schema version.
    """
    fragments = fragments_of([part for rows in found for part in rows.parts], table, filesystem)
    stored = joined_schema(fragments, table)
    logged = [_as_in_a_part(segment, table) for rows in found for segment in rows.segments]
    kept, whole = fitting(logged, stored if fragments else pa.schema([]))
    if not fragments and not kept:
        return None
    return _together(found, fragments, {segment.path: _fitted(segment.rows, whole) for segment in kept}, whole)


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
    found: Sequence[RunRows], fragments: Mapping[str, ds.Fragment], logged: Mapping[Path, pa.Table], whole: pa.Schema
) -> ds.Dataset:
    """Return parts and logs in the order of runs; neighbouring parts make one dataset, because there may be many."""
    pieces: list[ds.Dataset] = []
    pending: list[ds.Fragment] = []
    for rows in found:
        pending += [fragments[part] for part in rows.parts if part in fragments]
        in_log = [logged[segment.path] for segment in rows.segments if segment.path in logged]
        if in_log:
            pieces += [_of_fragments(pending, whole)] if pending else []
            pieces.append(ds.InMemoryDataset(pa.concat_tables(in_log)))
            pending = []
    pieces += [_of_fragments(pending, whole)] if pending else []
    return pieces[0] if len(pieces) == 1 else ds.UnionDataset(whole, pieces)


def _of_fragments(fragments: list[ds.Fragment], whole: pa.Schema) -> ds.Dataset:
    return ds.FileSystemDataset(fragments, whole, fragments[0].format, fragments[0].filesystem)
