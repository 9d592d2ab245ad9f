"""The Parquet parts of one table as Arrow fragments, each checked before it is read.

A store may be damaged, or come from an untrusted source. A part that is no Parquet, lacks the table's columns or
unpacks to far more than its size is left out with a warning that names it; the others are read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from analysis.reading.files.local_files import left_out
from probes import schema
from probes.schema.part_checks import DECLARED, is_measured, reading_problem, size_problem
from probes.schema.printable import one_line

# Errors that Arrow raises on damaged bytes. `OSError` is one of them, except for a file that is gone.
UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, ArithmeticError, MemoryError)
_Columns = tuple[tuple[str, str, bool], ...]
_BY_RUN = ds.partitioning(pa.schema([(schema.RUN, pa.string())]), flavor="hive")


def fragments_of(files: Sequence[str], table: str, filesystem: pafs.FileSystem | None) -> dict[str, ds.Fragment]:
    """Return the fragment of each part that can be read, by path, in the order of ``files``.

    Raises:
        FileNotFoundError: A part is gone since it was listed.
        NewerSchemaError: A part was written under a later schema version.
    """
    if not files:
        return {}
    # Only folders below the table are partitions: the store itself may lie in a folder named lr=0.5 or run=3.
    base = files[0].replace(os.sep, "/").rsplit("/", 2)[0]
    opened = ds.dataset(
        list(files),
        schema=pa.schema([(schema.RUN, pa.string())]),
        filesystem=filesystem,
        format="parquet",
        partitioning=_BY_RUN,
        partition_base_dir=base,
    )
    verdicts: dict[_Columns, str | None] = {}
    pairs = zip(files, opened.get_fragments(), strict=True)
    return {path: fragment for path, fragment in pairs if _is_readable(path, fragment, table, filesystem, verdicts)}


def _is_readable(
    path: str,
    fragment: ds.Fragment,
    table: str,
    filesystem: pafs.FileSystem | None,
    verdicts: dict[_Columns, str | None],
) -> bool:
    try:
        stored = fragment.physical_schema
        schema.check_readable(stored.metadata, path)
        key = _columns(stored)
        if key not in verdicts:
            verdicts[key] = reading_problem(table, stored)
        # The size of a file at a URL costs a request to the server, so there the size in the footer is taken.
        size = Path(path).stat().st_size if filesystem is None else _packed(fragment.metadata)
        problem = verdicts[key] or size_problem(fragment.metadata, size)
    except (FileNotFoundError, schema.NewerSchemaError):
        raise
    except UNREADABLE as error:
        problem = f"it is not a readable Parquet file: {one_line(error)}"
    if problem is not None:
        left_out(path, problem)
    return problem is None


def _columns(stored: pa.Schema) -> _Columns:
    """Return each column's name, type and whether it was recorded; older pyarrow cannot hash a schema itself."""
    return tuple((column.name, str(column.type), schema.is_recorded(column)) for column in stored)


def _packed(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return sum(group.column(place).total_compressed_size for group in groups for place in range(group.num_columns))


def joined_schema(fragments: dict[str, ds.Fragment], table: str) -> pa.Schema:
    """Return the columns of all fragments, with ``run``, and remove fragments that contradict the others from the dict.

    A column that began to be recorded later is absent from earlier parts. A column that holds no numbers where numbers
    belong is left out with a warning.
    """
    joined = pa.schema([(schema.RUN, pa.string())])
    known: set[_Columns] = set()
    for path, fragment in list(fragments.items()):
        stored = fragment.physical_schema
        if _columns(stored) in known:
            continue
        try:
            own = pa.schema([column for column in stored if column.name != schema.RUN], metadata=stored.metadata)
            joined = schema.unified([own, joined] if not known else [joined, own])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            left_out(path, f"its columns contradict the rest of the table: {one_line(error)}")
            del fragments[path]
        else:
            known.add(_columns(stored))
    return _of_numbers(joined, table)


def _of_numbers(joined: pa.Schema, table: str) -> pa.Schema:
    known = {schema.RUN, *DECLARED[table]}
    kept = [column for column in joined if column.name in known or is_measured(table, column.type)]
    for column in joined:
        if column not in kept:
            left_out(f"column {column.name!r} of table {table}", f"it is {column.type}, expected numbers")
    return pa.schema(kept, metadata=joined.metadata)


def damage_of(path: str, filesystem: pafs.FileSystem | None) -> str | None:
    """Return the damage of the content of a part, in words; None if all of it can be read, or if the part is gone."""
    try:
        with pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True) as part:
            for index in range(part.num_row_groups):
                group = part.read_row_group(index)
                group.validate(full=True)
                group.to_pandas()
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        return f"it is damaged: {one_line(error)}"
    return None
