"""From log to part: the one road, for a flush as for what a dead writer left behind.

A part is named after the log segments it holds, and is renamed into place before they are deleted. So whatever
moment a writer dies at, each segment's rows are in a part, or in the log, or in both; and the names tell which. A
segment that a part already holds is deleted unread.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from probes.storage.columns import RECORDED, part_schema
from probes.storage.files import StoreFiles
from probes.storage.log import find_segments, read_segment, segment_number
from probes.storage.ownership import OWNER_FILE
from probes.storage.parts import part_name, segment_range, write_parquet

log = logging.getLogger("meandrift")
DAMAGED = "damaged-"


@dataclass
class Recovered:
    """What recovery did for one run.

    Attributes:
        run: The run.
        rows: Rows brought from the log into parts, by table.
        torn_bytes: Bytes of records whose writing was cut off: their calls never returned.
        damaged: Log segments that something else overwrote, kept beside the log for inspection.
    """

    run: str
    rows: dict[str, int] = field(default_factory=dict)
    torn_bytes: int = 0
    damaged: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        rows = ", ".join(f"{count} rows of {table}" for table, count in self.rows.items()) or "nothing left to do"
        kept = "".join(
            f"; {path} was overwritten by something else: kept, what came before is saved" for path in self.damaged
        )
        return f"recovered run {self.run!r}: {rows}{kept}"


def move_to_part(files: StoreFiles, table: str, run: str, segments: list[Path], done: Recovered) -> None:
    """Bring finished segments of one table, oldest first, into one part, then delete them."""
    contents = [read_segment(path) for path in segments]
    tables = [content.rows for content in contents if content.rows is not None and content.rows.num_rows]
    if tables:
        logged = pa.concat_tables(tables, promote_options="default")
        rows = logged.cast(part_schema(table, logged.schema)).combine_chunks()
        name = part_name(segment_number(segments[0]), segment_number(segments[-1]))
        install_table(files, table, run, name, rows)
        done.rows[table] = done.rows.get(table, 0) + rows.num_rows
    for path, content in zip(segments, contents, strict=True):
        done.torn_bytes += content.torn_bytes
        if content.damaged:
            done.damaged.append(path.replace(path.with_name(DAMAGED + path.name)))
        else:
            path.unlink()


def install_table(files: StoreFiles, table: str, run: str, name: str, rows: pa.Table) -> None:
    """Write rows as one Parquet file of the store, whole or not at all."""
    unfinished = files.workspace(run) / f"{table}.unfinished"
    try:
        write_parquet(unfinished, [rows], rows.schema)
        files.install(unfinished, table, run, name)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def recover_run(files: StoreFiles, run: str) -> Recovered:
    """Bring all that a dead writer left in its log into parts, and clear its workspace. The caller owns the run."""
    done = Recovered(run)
    workspace = files.workspace(run)
    for table in RECORDED:
        held = [segment_range(name) for name in files.parts(table, run)]
        for path in find_segments(workspace, table):
            number = segment_number(path)
            if any(first <= number <= last for first, last in filter(None, held)):
                path.unlink()
            else:
                move_to_part(files, table, run, [path], done)
    for path in workspace.iterdir():
        if path.name != OWNER_FILE and not path.name.startswith(DAMAGED):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return done
