"""Remove a run from a store."""

from __future__ import annotations

import shutil

from probes import schema
from probes.storage.files import CHECKPOINTS, SAMPLES, StoreFiles
from probes.storage.ownership import OWNER_FILE, Ownership


def remove_run(files: StoreFiles, run: str, *, force: bool = False) -> None:
    """Delete all that a store holds of a run: its parts, its log, its row, its checkpoint and its samples.

    Raises:
        ValueError: The store has no such run, or a writer has it.
    """
    files.check_known([run])
    owner = Ownership(files.workspace(run), force=force)
    try:
        erase(files, run)
    finally:
        owner.release()


def erase(files: StoreFiles, run: str) -> None:
    """Delete a run's log and checkpoint, then its tables and samples, each out of the readers' sight in one step.

    The caller owns the run.
    """
    workspace = files.workspace(run)
    for path in workspace.iterdir():
        if path.name != OWNER_FILE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (files.spool / CHECKPOINTS / f"{run}.pt").unlink(missing_ok=True)
    for table in (*schema.TABLES, SAMPLES):
        files.delete_run(table, run)
