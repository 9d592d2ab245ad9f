"""Thinning of old runs: keeps every n-th record, and notes this as a gap in the run's row.

The steps to keep are written to a file before the first part is rewritten. If the process dies before the end, the same
command finishes the run with this file. Without the file, the remaining records would be counted anew.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.run_row import described, gaps_of, read_run_row, write_run_row
from probes.storage.safe_files import make_file, read_regular

UNDER_WAY = "thinning.json"  # in the run's workspace
KEPT_EVERY = "kept_every"  # key in the gap
_MOST_BYTES = 256 << 20  # of the file of steps


@dataclass(frozen=True)
class Thinned:
    """The numbers of a run's rows before and after thinning; equal if it had already been thinned as much."""

    before: int
    after: int


@dataclass(frozen=True)
class _Kept:
    """The steps to keep.

    Attributes:
        records: Steps of records, in all tables.
        rows: Steps of the training's rows in table ``steps``.
        last: The largest step when thinning was planned. Records of later steps stay.
        started: When the run began. A run of the same name with another start is another run.
        every: One record in this number is kept, counted from the beginning of the run.
    """

    records: list[int]
    rows: list[int]
    last: int
    started: str
    every: int


def thin_run(files: StoreFiles, run: str, nth: int) -> Thinned:
    """Keep every ``nth`` record of a run, including the first and the last.

    The caller owns the run.

    A record is all rows of one step, in every table. In table ``steps``, every ``nth`` row of the training stays, and
    so do the rows of kept records and of evaluations. If a run has been thinned before, ``nth`` still counts the
    original records.

    Raises:
        ValueError: ``nth`` is not 2 or more.
        OSError: A part cannot be read or written. The same call finishes the thinning.
        NewerSchemaError: A part was written under a later schema version.
    """
    if nth < 2:
        raise ValueError(f"thin {nth}: expected 2 or more; 10 keeps every tenth record.")
    row = read_run_row(files, run)
    kept = _under_way(files, run, row) or _planned(files, run, row, nth)
    if kept is None:
        count = sum(_count(files, table, run, name) for table in RECORDED for name in files.parts(table, run))
        return Thinned(count, count)
    _write_down(files, run, kept)
    counts = [_thin_part(files, table, run, name, kept) for table in RECORDED for name in files.parts(table, run)]
    gap = {"what": "records", "why": f"one in {kept.every} is kept, thinned afterwards", KEPT_EVERY: kept.every}
    gaps = [gap, *(each for each in gaps_of(row) if KEPT_EVERY not in each)]
    write_run_row(files, run, described(row, {"gaps": gaps}))
    (files.workspace(run) / UNDER_WAY).unlink()
    return Thinned(sum(before for before, _ in counts), sum(after for _, after in counts))


def _planned(files: StoreFiles, run: str, row: dict[str, Any], nth: int) -> _Kept | None:
    """Return the steps to keep; None if only such steps are left."""
    before = max((gap[KEPT_EVERY] for gap in gaps_of(row) if isinstance(gap.get(KEPT_EVERY), int)), default=1)
    if before >= nth:
        return None
    factor = math.ceil(nth / before)
    records = sorted({step for table in RECORDED if table != schema.STEPS for step in _steps(files, table, run)})
    rows = _steps(files, schema.STEPS, run)
    kept = sorted({*records[::factor], *records[-1:]})
    last = max([*records[-1:], *rows[-1:], -1])
    of_rows = sorted({*rows[::factor], *rows[-1:], *kept})
    return _Kept(kept, of_rows, last, _started(row), before * factor)


def _steps(files: StoreFiles, table: str, run: str) -> list[int]:
    """Return the steps of a table, ascending; for table ``steps``, only steps of the training."""
    found: set[int] = set()
    columns = [schema.STEP, *([schema.SPLIT] if table == schema.STEPS else [])]
    for name in files.parts(table, run):
        with files.open_part(table, run, name) as part:
            schema.check_readable(part.schema_arrow.metadata, name)
            rows = part.read(columns=columns)
        if table == schema.STEPS:
            rows = rows.filter(_of_training(rows))
        found.update(pc.unique(rows[schema.STEP]).to_pylist())
    return sorted(found)


def _of_training(rows: pa.Table) -> pa.ChunkedArray:
    return pc.equal(rows[schema.SPLIT].cast(pa.string()), schema.TRAIN)


def _thin_part(files: StoreFiles, table: str, run: str, name: str, kept: _Kept) -> tuple[int, int]:
    with files.open_part(table, run, name) as part:
        rows = part.read()
    wanted = kept.rows if table == schema.STEPS else kept.records
    stays = pc.or_(pc.is_in(rows[schema.STEP], pa.array(wanted, pa.int64())), pc.greater(rows[schema.STEP], kept.last))
    if table == schema.STEPS:
        stays = pc.or_(stays, pc.invert(_of_training(rows)))
    left = rows.filter(stays)
    if not left.num_rows:
        files.delete(table, run, name)
    elif left.num_rows < rows.num_rows:
        files.put(table, run, name, [left], left.schema)
    return rows.num_rows, left.num_rows


def _count(files: StoreFiles, table: str, run: str, name: str) -> int:
    with files.open_part(table, run, name) as part:
        return int(part.metadata.num_rows)


def _started(row: dict[str, Any]) -> str:
    return str(row.get("started"))


def _write_down(files: StoreFiles, run: str, kept: _Kept) -> None:
    path = files.workspace(run) / UNDER_WAY
    unfinished = path.with_suffix(".unfinished")  # recovery deletes a file of this name
    with os.fdopen(make_file(unfinished), "w") as file:
        json.dump(vars(kept), file)
    unfinished.replace(path)


def _under_way(files: StoreFiles, run: str, row: dict[str, Any]) -> _Kept | None:
    """Return the steps to keep of an interrupted thinning; None if there was none."""
    with suppress(FileNotFoundError):
        kept = _Kept(**json.loads(read_regular(files.workspace(run) / UNDER_WAY, limit=_MOST_BYTES)))
        return kept if kept.started == _started(row) else None
    return None
