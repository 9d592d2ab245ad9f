"""Rewind: delete the rows of the steps that a resumed run will take again."""

from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles


def rewind(files: StoreFiles, run: str, *, step: int) -> int:
    """Delete all rows of a run with ``step >= step`` and return their number. The caller owns the run.

    Parts are taken newest first, each gone or replaced in one move, so a death on the way leaves a run that ends
    earlier, and the next resume goes on from there.
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
    column = metadata.schema.names.index(schema.STEP)
    groups = [metadata.row_group(index).column(column).statistics for index in range(metadata.num_row_groups)]
    return max((group.max if group is not None and group.has_min_max else float("inf") for group in groups), default=-1)
