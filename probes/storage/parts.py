"""Parts: finished, immutable Parquet files, named after the log segments whose rows they hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from probes import schema
from probes.storage import part_checksum

ROW_GROUP_ROWS = 32_768  # few enough to skip by step and to hold in memory; 131,072 rows compress no better
GROUP_BYTES = 2 << 20  # of long rows in memory: encoding them takes twice as much memory, beside a training
PAGE_BYTES = 1 << 16  # with pages of 1 MB, writing the first part takes 8 MB more memory, and files are 3 % smaller


def write_parquet(path: Path, tables: Iterable[pa.Table], arrow_schema: pa.Schema) -> None:
    """Write tables to one Parquet file, in order: zstd, byte-split floats, dictionary keys, checksums."""
    names = {leaf: name for name, leaf in _leaves(arrow_schema)}
    floats = [leaf for leaf, name in names.items() if pa.types.is_floating(_leaf_type(arrow_schema.field(name).type))]
    words = [leaf for leaf, name in names.items() if name in _KEY_NAMES or _is_word(arrow_schema.field(name).type)]
    # The sink is opened here, because a ParquetWriter that fails, for example on a full disk, leaves its file open.
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(
            sink,
            arrow_schema.with_metadata(part_checksum.metadata(arrow_schema.metadata)),
            compression="zstd",
            use_dictionary=words,
            use_byte_stream_split=floats,
            data_page_size=PAGE_BYTES,
            write_page_checksum=True,  # `verify` finds flipped bits by these checksums
        ) as writer,
    ):
        for table in tables:
            for group in _row_groups(table):
                writer.write_table(group)
                _give_back()
    part_checksum.seal(path)


def _give_back() -> None:
    """Return Arrow's unused memory to the system, so that the training can use it until the next part is written."""
    pool = pa.default_memory_pool()
    if pool.backend_name != "system":  # that is the training's heap: its pages would be faulted in again
        pool.release_unused()


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into row groups of one chunk each: Parquet drops the dictionary if it changes within a row group."""
    groups = max(1, round(table.nbytes / GROUP_BYTES))  # rounded, because rows for one group take a little more
    rows = max(1, min(ROW_GROUP_ROWS, math.ceil(table.num_rows / groups)))
    for first in range(0, max(1, table.num_rows), rows):
        yield table.slice(first, rows).combine_chunks()


_KEY_NAMES = {column.name for columns in schema.KEYS.values() for column in columns}


def _leaves(arrow_schema: pa.Schema) -> list[tuple[str, str]]:
    """Return pairs of column name and Parquet leaf path."""
    return [
        (column.name, f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name)
        for column in arrow_schema
    ]


def _leaf_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_list(kind) else kind


def _is_word(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or pa.types.is_string(kind)


def fitted(table: pa.Table, arrow_schema: pa.Schema) -> pa.Table:
    """Return the table with exactly the columns of ``arrow_schema``.

    Columns that it lacks are null.
    """
    columns = [
        table[column.name].cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in arrow_schema
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema)
