"""List a store's runs, as text for a table on the terminal. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.recovery import rows_of
from probes.storage.run_row import read_run_row
from probes.storage.tags import tags_of
from probes.storage.writer_lock import is_alive

KILLED = "killed"
COLUMNS = ("run", "status", "started", "updated", "last step", "device", "rows", "size", "per 1,000 steps", "tags")


def list_runs(files: StoreFiles, runs: Iterable[str] | None = None) -> Iterator[tuple[str, ...]]:
    """Yield, for each run, or for some: its id and the other ``COLUMNS``.

    ``size`` is that of the parts on disk; ``per 1,000 steps`` is what was expected when the run began.

    Rows in a log count. A run whose row says that it is running, and whose writer is dead, has the status ``killed``.
    A part that cannot be read shows as ``?`` rows; ``meandrift verify`` says which and why.
    """
    for run in sorted({*files.runs(), *files.workspaces()} if runs is None else runs):
        row = read_run_row(files, run)
        last_step = row.get("last_step")
        yield (
            run,
            _status(files, run, row.get("status")),
            _time(row.get("started")),
            _time(row.get("updated")),
            "-" if last_step is None else f"{last_step:,}",
            str(row.get("device") or "-"),
            _count(files, run),
            _size(sum(files.size(table, run) for table in schema.TABLES)),
            "-" if (expected := row.get("bytes_per_1000_steps")) is None else _size(expected),
            ", ".join(tags_of(row)),
        )


def _status(files: StoreFiles, run: str, said: str | None) -> str:
    if said == "running" and not is_alive(files.workspace(run)):
        return KILLED
    return str(said or "?")


def _count(files: StoreFiles, run: str) -> str:
    total = 0
    for table in RECORDED:
        rows = rows_of(files, table, run)
        total += sum(logged.num_rows for logged in rows.logged)
        for name in rows.parts:
            try:
                with files.open_part(table, run, name) as part:
                    total += part.metadata.num_rows
            except OSError:
                return "?"
    return f"{total:,}"


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
