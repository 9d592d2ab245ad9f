"""The list of a store's runs, and its text on the terminal. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.recovery import rows_of
from probes.storage.run_row import read_run_row
from probes.storage.tags import tags_of
from probes.storage.writer_lock import is_alive

KILLED = "killed"


@dataclass(frozen=True)
class ListedRun:
    """One run of a store.

    Attributes:
        run: The run's id.
        status: The status in its row; ``killed`` if that is "running" and the writer is dead.
        started: When it began, UTC.
        updated: When its row was written last, UTC.
        last_step: The largest step recorded.
        device: The device of the model.
        rows: Number of rows in all tables, including its log; None if a part cannot be read.
        size: Bytes of its parts.
        bytes_per_1000_steps: The bytes that it was expected to write in 1,000 steps, estimated at its start; None for
            older runs.
        tags: Its tags.
    """

    run: str
    status: str
    started: datetime | None
    updated: datetime | None
    last_step: int | None
    device: str | None
    rows: int | None
    size: int
    bytes_per_1000_steps: int | None
    tags: list[str]

    def words(self) -> dict[str, str]:
        """Return the run as text, by the heading of each column."""
        return {
            "run": self.run,
            "status": self.status,
            "started": _time(self.started),
            "updated": _time(self.updated),
            "last step": "-" if self.last_step is None else f"{self.last_step:,}",
            "device": self.device or "-",
            "rows": "?" if self.rows is None else f"{self.rows:,}",
            "size": _size(self.size),
            "per 1,000 steps": "-" if self.bytes_per_1000_steps is None else _size(self.bytes_per_1000_steps),
            "tags": ", ".join(self.tags),
        }

    def plain(self) -> dict[str, Any]:
        """Return the run for JSON, with times in ISO 8601."""
        times = {name: None if time is None else time.isoformat() for name, time in self._times()}
        return {**vars(self), **times}

    def _times(self) -> tuple[tuple[str, datetime | None], ...]:
        return ("started", self.started), ("updated", self.updated)


def list_runs(
    files: StoreFiles, runs: Iterable[str] | None = None, tell: Callable[[str], object] = str
) -> Iterator[ListedRun]:
    """Yield all or some runs of a store, sorted by id.

    Args:
        files: The store.
        runs: Their ids; None takes all.
        tell: Called with each file that cannot be read, and the reason. The values of such a file are None.
    """
    for run in sorted({*files.runs(), *files.workspaces()} if runs is None else runs):
        row = _row(files, run, tell)
        yield ListedRun(
            run,
            _status(files, run, row.get("status")),
            row.get("started"),
            row.get("updated"),
            row.get("last_step"),
            row.get("device") or None,
            _count(files, run, tell),
            sum(files.size(table, run) for table in schema.TABLES),
            row.get("bytes_per_1000_steps"),
            tags_of(row),
        )


def _status(files: StoreFiles, run: str, said: str | None) -> str:
    if said == "running" and not is_alive(files.workspace(run)):
        return KILLED
    return str(said or "?")


def _row(files: StoreFiles, run: str, tell: Callable[[str], object]) -> dict[str, Any]:
    try:
        return read_run_row(files, run)
    except OSError as error:
        tell(str(error))
        return {}


def _count(files: StoreFiles, run: str, tell: Callable[[str], object]) -> int | None:
    total, unknown = 0, False
    for table in RECORDED:
        try:
            rows = rows_of(files, table, run)
        except schema.NewerSchemaError as error:
            tell(str(error))
            unknown = True
            continue
        total += sum(logged.num_rows for logged in rows.logged)
        for name in rows.parts:
            try:
                with files.open_part(table, run, name) as part:
                    total += part.metadata.num_rows
            except OSError as error:
                tell(str(error))
                unknown = True
    return None if unknown else total


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
