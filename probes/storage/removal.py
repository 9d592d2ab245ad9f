"""Remove a run from a store."""

from __future__ import annotations

from contextlib import suppress

from probes import schema
from probes.storage.files import StoreFiles
from probes.storage.safe_files import remove
from probes.storage.writer_lock import OWNER_FILE, WriterLock


def remove_run(files: StoreFiles, run: str, *, force: bool = False) -> None:
    """Delete all that a store holds of a run: its parts, its log, its row, its checkpoint, samples and event files.

    Raises:
        ValueError: The store has no such run, or a writer has it.
    """
    files.check_known([run])
    owner = WriterLock(files.workspace(run), force=force)
    try:
        erase(files, run)
    finally:
        owner.release()


def erase(files: StoreFiles, run: str) -> None:
    """Delete a run's log, refused rows and checkpoint, then its tables and what lies beside them, each at once.

    The caller owns the run.
    """
    for path in files.workspace(run).iterdir():
        if path.name != OWNER_FILE:
            remove(path)
    with suppress(FileNotFoundError):
        remove(files.spilled(run))
    files.checkpoint(run).unlink(missing_ok=True)
    for table in (*schema.TABLES, *schema.BESIDE):
        files.delete_run(table, run)
