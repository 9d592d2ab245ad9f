"""Remove a run from a store."""

from __future__ import annotations

import os
from contextlib import suppress

from probes import schema
from probes.storage.files import StoreFiles
from probes.storage.safe_files import make_file, remove
from probes.storage.writer_lock import OWNER_FILE, WriterLock

DELETING = "deleting"  # in the workspace of a run that is being deleted


def remove_run(files: StoreFiles, run: str, *, force: bool = False) -> None:
    """Delete all files of a run in a store: its parts, its log, its row, its checkpoint, samples and event files.

    Raises:
        ValueError: The store has no such run, or a writer owns it.
    """
    files.check_known([run])
    owner = WriterLock(files.workspace(run), force=force)
    try:
        erase(files, run)
    finally:
        owner.release()


def erase(files: StoreFiles, run: str) -> None:
    """Delete a run's log, refused rows and checkpoint, then its tables and other folders, each in one step.

    The caller owns the run. A mark is written first. If the caller dies before the end, the next recovery sees the mark
    and finishes the deletion.
    """
    workspace = files.workspace(run)
    mark = workspace / DELETING
    os.close(make_file(mark))
    for path in workspace.iterdir():
        if path.name not in (OWNER_FILE, DELETING):
            remove(path)
    with suppress(FileNotFoundError):
        remove(files.spilled(run))
    files.checkpoint(run).unlink(missing_ok=True)
    for table in (*schema.TABLES, *schema.BESIDE):
        files.delete_run(table, run)
    mark.unlink(missing_ok=True)


def is_being_erased(files: StoreFiles, run: str) -> bool:
    """Return whether the deletion of a run was started and not finished."""
    return os.path.lexists(files.workspace(run) / DELETING)
