"""The end of a recorded run: the step after it, and the deletion of steps that a resumed run will take again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles

Held = Mapping[str, Any]  # a row of table `steps`, by column


def next_step(files: StoreFiles, run: str) -> int:
    """Return the number of optimizer steps finished when the last row of a run was recorded; 0 without rows.

    A row of step n says that n steps were finished. If it is a row of a layer, or of split ``train``, step n was taken
    too. Rows that are only in a log do not count.
    """
    finished = [0]
    for table in RECORDED:
        for name in files.parts(table, run):
            with files.open_part(table, run, name) as part:
                finished.append(_steps_finished(part, table))
    return max(finished)


def last_step(files: StoreFiles, run: str) -> int | None:
    """Return the largest step of a run's parts; None without rows.

    A part that cannot be read is ignored.
    """
    found = []
    for table in RECORDED:
        for name in files.parts(table, run):
            with suppress(OSError), files.open_part(table, run, name) as part:
                largest = _largest_step(part.metadata)
                found.append(int(largest) if math.isfinite(largest) else pc.max(part.read([schema.STEP])[0]).as_py())
    return max((step for step in found if step is not None and step >= 0), default=None)


def missing(files: StoreFiles, run: str, rows: Sequence[Held]) -> list[Held]:
    """Return the rows of table ``steps`` whose step and split are in no part of a run."""
    first = min((row[schema.STEP] for row in rows), default=math.inf)
    found: set[tuple[int, str]] = set()
    for name in files.parts(schema.STEPS, run) if rows else ():
        with files.open_part(schema.STEPS, run, name) as part:
            if _largest_step(part.metadata) >= first:
                there = part.read(columns=[schema.STEP, schema.SPLIT]).to_pydict()
                found.update(zip(there[schema.STEP], there[schema.SPLIT], strict=True))
    return [row for row in rows if (row[schema.STEP], row[schema.SPLIT]) not in found]


def _steps_finished(part: pq.ParquetFile, table: str) -> int:
    largest = _largest_step(part.metadata)
    if table != schema.STEPS and math.isfinite(largest):
        return int(largest) + 1
    rows = part.read(columns=[schema.STEP, *([schema.SPLIT] if table == schema.STEPS else [])])
    steps = rows[schema.STEP]
    if table != schema.STEPS:
        return (pc.max(steps).as_py() or 0) + 1
    of_training = pc.equal(rows[schema.SPLIT].cast(pa.string()), schema.TRAIN)
    return pc.max(pc.add(steps, of_training.cast(pa.int64()))).as_py() or 0


def rewind(files: StoreFiles, run: str, *, step: int) -> int:
    """Delete all rows of a run with ``step >= step`` and return their number. The caller owns the run.

    Parts are deleted or replaced one by one, the newest first. If the process dies before the end, the run ends at an
    earlier step, and the next resume continues there.
    """
    return sum(
        _rewind_part(files, table, run, name, step) for table in RECORDED for name in reversed(files.parts(table, run))
    )


def _rewind_part(files: StoreFiles, table: str, run: str, name: str, step: int) -> int:
    with files.open_part(table, run, name) as part:
        if _largest_step(part.metadata) < step:
            return 0
        rows = part.read()
    kept = rows.filter(pc.less(rows[schema.STEP], step))
    if kept.num_rows == rows.num_rows:
        return 0
    if kept.num_rows:
        files.put(table, run, name, [kept], kept.schema)
    else:
        files.delete(table, run, name)
    return rows.num_rows - kept.num_rows


def _largest_step(metadata: pq.FileMetaData) -> float:
    """Return the largest step of a part from its statistics; infinity if they lack it."""
    column = metadata.schema.names.index(schema.STEP)
    groups = [metadata.row_group(index).column(column).statistics for index in range(metadata.num_row_groups)]
    return max((group.max if group is not None and group.has_min_max else math.inf for group in groups), default=-1)
