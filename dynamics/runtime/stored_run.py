"""The stored status and settings of a run, read before training or resuming it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

from probes.schema import local_folder
from probes.schema.stored_json import stored_json
from probes.storage.files import open_store
from probes.storage.run_row import read_run_row


@dataclass(frozen=True)
class StoredRun:
    """A run in the store.

    Attributes:
        run: Id of the run.
        status: ``running`` (also for a killed run), ``finished``, ``interrupted`` or ``failed``.
        settings: Configuration of the run.
        last_step: The largest recorded step.
    """

    run: str
    status: str
    settings: dict[str, Any]
    last_step: int


def stored_run(store: str | PathLike[str], run: str) -> StoredRun | None:
    """Return a run of the store; None if the store has no such run.

    Raises:
        NotADirectoryError: The store's path is a file.
        DamagedFileError: The run's row cannot be read.
        ValueError: The run's configuration is no JSON object.
    """
    check_store(store)
    row = read_run_row(open_store(store), run)
    if not row:
        return None
    try:
        settings = stored_json(row["config"] or "{}", dict)
    except ValueError as problem:
        raise ValueError(
            f"run {run!r} of store {store} can be neither resumed nor repeated: its config {problem}"
        ) from None
    return StoredRun(run, str(row["status"]), settings, row["last_step"] or 0)


def check_store(store: str | PathLike[str]) -> None:
    """Refuse a path that cannot be a store.

    Raises:
        NotADirectoryError: The path is a file.
    """
    folder = local_folder(store)
    if folder is not None and folder.is_file():
        raise NotADirectoryError(f"store {store} is a file: expected a folder, or a path where one can be made.")


def check_new(store: str | PathLike[str], run: str) -> None:
    """Refuse to start a run that the store already has.

    Raises:
        ValueError: The store has a run of that id.
    """
    if stored_run(store, run) is not None:
        raise ValueError(
            f"run {run!r} exists in store {store}: choose another --run, go on with it (--resume), or delete it first "
            "(--overwrite)."
        )
