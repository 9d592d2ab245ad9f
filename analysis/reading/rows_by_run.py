"""The rows of a table run by run, as Arrow tables, in which null and NaN differ.

Small runs are read many at a time, because opening a file costs more than reading its rows. Large runs are read one by
one, because a store may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from analysis.reading.files.recorded_rows import RunRows
from analysis.reading.store import Store
from analysis.reading.table_dataset import FRUGALLY
from probes import schema

BATCH_BYTES = 1 << 25  # of compressed files


def rows_by_run(
    store: Store, table: str, *, columns: Sequence[str], runs: Sequence[str], batch_bytes: int = BATCH_BYTES
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each run and its rows of a table: the keys, and those of ``columns`` that the run recorded.

    A run without rows in the table gives an empty table.

    Args:
        store: The store.
        table: The table.
        columns: Columns to read.
        runs: Ids of runs; they are yielded in this order.
        batch_bytes: Approximate number of bytes of files that are read at once.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no such run.
    """
    store.rows(table, list(runs))  # listed once, not again for each batch
    for batch in _batches(store, table, runs, batch_bytes):
        found = store.retrying(lambda batch=batch: _read(store, table, columns, batch))  # type: ignore[misc]
        for run in batch:
            yield run, found.get(run, schema.arrow_schema(table, ()).empty_table())


def _batches(store: Store, table: str, runs: Sequence[str], most: int) -> Iterator[list[str]]:
    sizes = {rows.run: _size(rows, local=store.folder is not None) for rows in store.rows(table, list(runs))}
    batch: list[str] = []
    size = 0
    for run in runs:
        if batch and size + sizes.get(run, 0) > most:
            yield batch
            batch, size = [], 0
        batch.append(run)
        size += sizes.get(run, 0)
    if batch:
        yield batch


def _size(rows: RunRows, *, local: bool) -> int:
    """Return the bytes of a run's rows; rows in an object store count as a whole batch."""
    if not local:
        return BATCH_BYTES
    return sum(segment.rows.nbytes for segment in rows.segments) + sum(
        Path(part).stat().st_size for part in rows.parts if Path(part).exists()
    )


def _read(store: Store, table: str, columns: Sequence[str], batch: list[str]) -> dict[str, pa.Table]:
    if not store.rows(table, batch):
        return {}
    dataset = store.dataset(table, batch)
    keys = [schema.RUN, *(key.name for key in schema.KEYS[table])]
    wanted = [name for name in dict.fromkeys((*keys, *columns)) if name in dataset.schema.names]
    rows = dataset.to_table(wanted, **FRUGALLY)
    if not rows.num_rows:
        return {}
    recorded, every = _recorded(dataset), _recorded_names(dataset.schema)
    named = rows[schema.RUN].combine_chunks().dictionary_encode()
    codes = named.indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))  # rows come run by run
    ends = [*starts[1:], len(codes)]
    return {
        (run := str(named.dictionary[codes[start]])): _own(
            rows.slice(start, end - start), keys, recorded.get(run, every)
        )
        for start, end in zip(starts, ends, strict=True)
    }


def _recorded(dataset: ds.Dataset) -> dict[str, set[str]]:
    """Return by run the columns that its parts recorded; a run without parts is left out."""
    if isinstance(dataset, ds.UnionDataset):
        parts = [item for child in dataset.children for item in _recorded(child).items()]
    elif isinstance(dataset, ds.FileSystemDataset):
        parts = [(_run_of(fragment), _recorded_names(fragment.physical_schema)) for fragment in dataset.get_fragments()]
    else:
        parts = []
    found: dict[str, set[str]] = {}
    for run, names in parts:
        found.setdefault(run, set()).update(names)
    return found


def _run_of(fragment: ds.Fragment) -> str:
    return str(ds.get_partition_keys(fragment.partition_expression)[schema.RUN])


def _recorded_names(stored: pa.Schema) -> set[str]:
    return {column.name for column in stored if schema.is_recorded(column)}


def _own(rows: pa.Table, keys: Sequence[str], recorded: set[str]) -> pa.Table:
    """Return the rows of one run without the columns that only other runs of the batch have.

    A column that the run recorded stays even if all of it is null: it shows that nothing could be measured.
    """
    names = rows.column_names
    kept = {*keys, *recorded}
    return rows.select([name for name in names if name in kept or rows[name].null_count < rows.num_rows])
