"""The list of a store's runs, and its text on the terminal. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.recovery import rows_of
from probes.storage.run_row import read_run_row
from probes.storage.writer_lock import is_alive

KILLED = "killed"


@dataclass(frozen=True)
class ListedRun:
    """One run of a store.

    Attributes:
        run: Its id.
        status: What its row says; ``killed`` where that is "running" and the writer is dead.
        started: When it began, UTC.
        updated: When its row was written last, UTC.
        last_step: The largest step recorded.
        device: The device of the model.
        rows: Rows in all tables, those in its log among them; None where a part cannot be read.
        size: Bytes of its parts.
    """

    run: str
    status: str
    started: datetime | None
    updated: datetime | None
    last_step: int | None
    device: str | None
    rows: int | None
    size: int

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
        }

    def plain(self) -> dict[str, str | int | None]:
        """Return the run for JSON: times in ISO 8601."""
        times = {name: None if time is None else time.isoformat() for name, time in self._times()}
        return {**vars(self), **times}

    def _times(self) -> tuple[tuple[str, datetime | None], ...]:
        return ("started", self.started), ("updated", self.updated)


def list_runs(files: StoreFiles) -> Iterator[ListedRun]:
    """Yield the runs of a store, sorted by id; ``meandrift verify`` says which parts cannot be read, and why."""
    for run in sorted({*files.runs(), *files.workspaces()}):
        row = read_run_row(files, run)
        yield ListedRun(
            run,
            _status(files, run, row.get("status")),
            row.get("started"),
            row.get("updated"),
            row.get("last_step"),
            row.get("device") or None,
            _count(files, run),
            sum(files.size(table, run) for table in schema.TABLES),
        )


def _status(files: StoreFiles, run: str, said: str | None) -> str:
    if said == "running" and not is_alive(files.workspace(run)):
        return KILLED
    return str(said or "?")


def _count(files: StoreFiles, run: str) -> int | None:
    total = 0
    for table in RECORDED:
        rows = rows_of(files, table, run)
        total += sum(logged.num_rows for logged in rows.logged)
        for name in rows.parts:
            try:
                with files.open_part(table, run, name) as part:
                    total += part.metadata.num_rows
            except OSError:
                return None
    return total


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
