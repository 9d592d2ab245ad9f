"""List a store's runs, as text for a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.files import StoreFiles
from probes.storage.run_row import read_run_row


def list_runs(files: StoreFiles) -> Iterator[tuple[str, ...]]:
    """Yield, for each run: id, status, start, last update, last step, device, rows in parts, size on disk.

    A part that cannot be read shows as ``?`` rows; ``meandrift verify`` says which and why.
    """
    for run in files.runs():
        row = read_run_row(files, run)
        last_step = row.get("last_step")
        yield (
            run,
            str(row.get("status") or "?"),
            _time(row.get("started")),
            _time(row.get("updated")),
            "-" if last_step is None else f"{last_step:,}",
            str(row.get("device") or "-"),
            _count(files, run),
            _size(sum(files.size(table, run) for table in schema.TABLES)),
        )


def _count(files: StoreFiles, run: str) -> str:
    total = 0
    for table in RECORDED:
        for name in files.parts(table, run):
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
