"""Recovery: brings log segments into parts, at a flush and for rows that a killed writer left behind.

A part is named after the log segments that it holds, and it is renamed into place before they are deleted. At whatever
moment a writer dies, the rows of each segment are therefore in a part, in the log, or in both, and the names tell
which. A segment that a part holds already is deleted without being read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from probes import schema
from probes.storage.columns import RECORDED, part_schema
from probes.storage.counting import counted
from probes.storage.damage import reason
from probes.storage.files import UNFINISHED, StoreFiles
from probes.storage.log import find_segments, read_segment
from probes.storage.parts import fitted
from probes.storage.removal import erase, is_being_erased
from probes.storage.rewind import last_step
from probes.storage.run_row import described, read_run_row, restore_spilled_row, write_run_row
from probes.storage.safe_files import UnsafePathError, remove
from probes.storage.writer_lock import RECOVERING, RunIsOwnedError, WriterLock

log = logging.getLogger("meandrift")
DAMAGED = "damaged-"
HELD = "held-"
UNDER_WAY = tuple(
    f"{prefix}{table}" for prefix in ("compacted-", "deleted-") for table in (*schema.TABLES, *schema.BESIDE)
)


@dataclass
class Recovered:
    """What recovery did for one run.

    Attributes:
        run: The run.
        rows: Rows brought from the log into parts, by table.
        torn_bytes: Bytes of records whose writing was cut off: their calls never returned.
        damaged: Log segments with damage, kept beside the log for inspection.
    """

    run: str
    rows: dict[str, int] = field(default_factory=dict)
    torn_bytes: int = 0
    damaged: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        rows = (
            ", ".join(f"{counted(count, 'row')} of {table}" for table, count in self.rows.items())
            or "nothing left to do"
        )
        kept = "".join(f"; {path} was damaged and is kept: the sound rows in it are safe" for path in self.damaged)
        return f"recovered run {self.run!r}: {rows}{kept}"


def move_to_part(files: StoreFiles, table: str, run: str, segment: Path, done: Recovered) -> None:
    """Bring one finished segment into a part of its own, then delete it.

    Doing it again after a failure is safe: the part has the segment's number, so it replaces itself.
    """
    number, content = schema.segment_number(segment.name, table), read_segment(segment)
    assert number is not None, segment
    if content.rows is not None and content.rows.num_rows:
        schema.check_readable(content.rows.schema.metadata, segment)
        stored = part_schema(table, content.rows.schema)
        rows = fitted(content.rows, stored)
        files.put(table, run, schema.part_name(number, number), [rows], stored)
        done.rows[table] = done.rows.get(table, 0) + rows.num_rows
    done.torn_bytes += content.torn_bytes
    with suppress(OSError):  # a segment that stays is known by its number to be in a part
        if content.damaged:
            done.damaged.append(segment.replace(segment.with_name(DAMAGED + segment.name)))
        else:
            segment.unlink()


class RunRows(NamedTuple):
    """Where the rows of one run and table stand: Parquet files by name, and the rows that are in a log only."""

    parts: list[str]
    logged: list[pa.Table]


def rows_of(files: StoreFiles, table: str, run: str) -> RunRows:
    """Find a run's rows, each once, without writing anything.

    The log is read before the parts are listed: a segment that a living writer brings into a part in between is in
    that part, and its number says so.
    """
    logged = list(_read_logs(files, table, run)) if table in RECORDED else []
    parts = files.parquet_names(table, run)
    held = [span for span in map(schema.part_range, parts) if span is not None]
    return RunRows(parts, [rows for number, rows in logged if not any(first <= number <= last for first, last in held)])


def _read_logs(files: StoreFiles, table: str, run: str) -> Iterator[tuple[int, pa.Table]]:
    for folder in (files.workspace(run), files.spilled(run)):
        for number, path in find_segments(folder, table).items():
            with suppress(OSError):  # it was brought into a part, or is no log
                rows = read_segment(path).rows
                if rows is not None:
                    yield number, fitted(rows, part_schema(table, rows.schema))


def recover_run(files: StoreFiles, run: str) -> Recovered:
    """Bring the rows in a dead writer's log, and the rows that the store refused, into parts; clear the workspace.

    The caller owns the run. If somebody began to delete the run and died, the deletion is finished.

    Raises:
        OSError: A part could not be written. Its rows stay where they are.
    """
    done = Recovered(run)
    if is_being_erased(files, run):
        erase(files, run)
        return done
    workspace, spilled = files.workspace(run), files.spilled(run)
    for table in RECORDED:
        held = [span for span in map(schema.part_range, files.parts(table, run)) if span is not None]
        for number, path in (*find_segments(workspace, table).items(), *find_segments(spilled, table).items()):
            if not any(first <= number <= last for first, last in held):
                with _left_if_unsafe(run):
                    move_to_part(files, table, run, path, done)
            elif path.parent == workspace:
                path.unlink()
            else:  # its part is there, or another machine went on with the run and gave the number again
                path.replace(path.with_name(HELD + path.name))
    restore_spilled_row(files, run)
    clear(workspace)
    for folder in (spilled, spilled.parent, files.spill):
        with suppress(OSError):  # not there, or not empty
            folder.rmdir()
    return done


@contextmanager
def _left_if_unsafe(run: str) -> Iterator[None]:
    """Skip a log segment that is not safe to read, and leave its file; the segments after it are recovered."""
    try:
        yield
    except UnsafePathError as error:
        log.warning("run %r: a log segment is left out: %s", run, error)


def clear(workspace: Path) -> None:
    """Delete the temporary files of a dead writer from its workspace; its log and owner file stay."""
    for path in workspace.iterdir():
        if path.name in UNDER_WAY or path.suffix == UNFINISHED:
            remove(path)


def recover_dead(files: StoreFiles, runs: Iterable[str] | None = None, *, force: bool = False) -> list[Recovered]:
    """Recover the runs whose writers died; leave those of live writers alone.

    Args:
        files: The store.
        runs: Only these; by default every run with a workspace.
        force: Take runs over from owners on other machines, who are known to be dead.

    Returns:
        One record for each run recovered. A run that cannot be recovered is logged and left as it is.
    """
    wanted = files.workspaces() if runs is None else [run for run in files.workspaces() if run in set(runs)]
    attempts = [_recover_if_dead(files, run, force=force) for run in wanted]
    with suppress(OSError):  # not there, a link, or a writer is in it
        (files.spool / schema.WRITERS).rmdir()
    return [done for done in attempts if done is not None]


def _recover_if_dead(files: StoreFiles, run: str, *, force: bool) -> Recovered | None:
    try:
        owner = WriterLock(files.workspace(run), task=RECOVERING, force=force)
    except RunIsOwnedError:
        return None
    except OSError as error:
        log.warning("run %r is not recovered: %s", run, error)
        return None
    try:
        done = recover_run(files, run)
        row = read_run_row(files, run)
        left_something = bool(done.rows or done.damaged or row.get("status") == "running")
        if row.get("status") == "running":
            # From the parts: a recovery before this one may have died between them and the row.
            ended = {"status": "interrupted", "last_step": last_step(files, run)}
            write_run_row(files, run, described(row, ended))
    except Exception as error:  # a stranger may have put anything there: it stops neither a training nor other runs
        log.warning("run %r is not recovered: %s", run, reason(error))
        return None
    finally:
        owner.release()
    if not left_something:
        return None  # its writer closed between our listing and our lock
    log.warning("%s", done)
    return done
