"""Recovery: brings log segments into parts, at a flush and for rows that a killed writer left behind.

A part is named after the log segments that it holds, and it is renamed into place before they are deleted. Whenever a
writer dies, the rows of each segment are therefore in a part, in the log, or in both, and the names show which. A
segment that a part already holds is deleted without being read.
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
    """The result of recovery for one run.

    Attributes:
        run: The run.
        rows: Rows brought from the log into parts, by table.
        torn_bytes: Bytes of records whose writing was interrupted. The calls that wrote them never returned.
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
    """Bring one finished segment into a separate part, then delete the segment.

    A second call after a failure is safe: the part has the segment's number, so the new part replaces the old one.
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
    with suppress(OSError):  # if the segment stays, its number shows that it is in a part
        if content.damaged:
            done.damaged.append(segment.replace(segment.with_name(DAMAGED + segment.name)))
        else:
            segment.unlink()


class RunRows(NamedTuple):
    """The rows of one run and table: the names of Parquet files, and the rows that are only in a log."""

    parts: list[str]
    logged: list[pa.Table]


def rows_of(files: StoreFiles, table: str, run: str) -> RunRows:
    """Find a run's rows, each once, without writing anything.

    The log is read before the parts are listed. If a living writer brings a segment into a part in between, the number
    of the segment shows that the part holds it.
    """
    logged = list(_read_logs(files, table, run)) if table in RECORDED else []
    parts = files.parquet_names(table, run)
    held = [span for span in map(schema.part_range, parts) if span is not None]
    return RunRows(parts, [rows for number, rows in logged if not any(first <= number <= last for first, last in held)])


def _read_logs(files: StoreFiles, table: str, run: str) -> Iterator[tuple[int, pa.Table]]:
    for folder in (files.workspace(run), files.spilled(run)):
        for number, path in find_segments(folder, table).items():
            with suppress(OSError):  # the segment was brought into a part, or is no log
                rows = read_segment(path).rows
                if rows is not None:
                    yield number, fitted(rows, part_schema(table, rows.schema))


def recover_run(files: StoreFiles, run: str) -> Recovered:
    """Bring the rows in a dead writer's log, and the rows that the store refused, into parts; clear the workspace.

    The caller owns the run. If a process died while it deleted the run, the deletion is finished.

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
            else:  # its part exists, or another machine continued the run and used the number again
                path.replace(path.with_name(HELD + path.name))
    restore_spilled_row(files, run)
    clear(workspace)
    for folder in (spilled, spilled.parent, files.spill):
        with suppress(OSError):  # the folder is missing or not empty
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
    """Delete the temporary files of a dead writer from its workspace.

    Its log and owner file stay.
    """
    for path in workspace.iterdir():
        if path.name in UNDER_WAY or path.suffix == UNFINISHED:
            remove(path)


def recover_dead(files: StoreFiles, runs: Iterable[str] | None = None, *, force: bool = False) -> list[Recovered]:
    """Recover the runs whose writers died.

    Runs of live writers are not touched.

    Args:
        files: The store.
        runs: Only these; by default every run with a workspace.
        force: Take runs over from owners on other machines, who are known to be dead.

    Returns:
        One record for each run recovered. A run that cannot be recovered is logged and left as it is.
    """
    wanted = files.workspaces() if runs is None else [run for run in files.workspaces() if run in set(runs)]
    attempts = [_recover_if_dead(files, run, force=force) for run in wanted]
    with suppress(OSError):  # the folder is missing, is a link, or is used by a writer
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
            # Count from the parts: an earlier recovery may have died after the parts and before the row.
            ended = {"status": "interrupted", "last_step": last_step(files, run)}
            write_run_row(files, run, described(row, ended))
    except Exception as error:  # files may come from a stranger: no error may stop a training or other runs
        log.warning("run %r is not recovered: %s", run, reason(error))
        return None
    finally:
        owner.release()
    if not left_something:
        return None  # its writer closed the run between the listing and the lock
    log.warning("%s", done)
    return done
