"""List a store's runs, as text for a table on the terminal. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.recovery import rows_of
from probes.storage.run_row import read_run_row
from probes.storage.writer_lock import is_alive

KILLED = "killed"


def list_runs(files: StoreFiles, tell: Callable[[str], object] = str) -> Iterator[tuple[str, ...]]:
    """Yield, for each run: id, status, start, last update, last step, device, rows, size of the parts on disk.

    Rows in a log count. A run whose row says that it is running, and whose writer is dead, has the status ``killed``.
    What cannot be read shows as ``?``, and ``tell`` is told which file it is and why.
    """
    for run in sorted({*files.runs(), *files.workspaces()}):
        row = _row(files, run, tell)
        last_step = row.get("last_step")
        yield (
            run,
            _status(files, run, row.get("status")),
            _time(row.get("started")),
            _time(row.get("updated")),
            "-" if last_step is None else f"{last_step:,}",
            str(row.get("device") or "-"),
            _count(files, run, tell),
            _size(sum(files.size(table, run) for table in schema.TABLES)),
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


def _count(files: StoreFiles, run: str, tell: Callable[[str], object]) -> str:
    total, unknown = 0, False
    for table in RECORDED:
        rows = rows_of(files, table, run)
        total += sum(logged.num_rows for logged in rows.logged)
        for name in rows.parts:
            try:
                with files.open_part(table, run, name) as part:
                    total += part.metadata.num_rows
            except OSError as error:
                tell(str(error))
                unknown = True
    return "?" if unknown else f"{total:,}"


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
