"""What a store already holds of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from dynamics.checkpoint import MAY_CHANGE
from dynamics.config import RunConfig
from probes.storage.files import open_store
from probes.storage.run_row import read_run_row

DERIVED = frozenset({"parameters"})  # kept with a run's settings, and following from them


@dataclass(frozen=True)
class StoredRun:
    """A run as the store tells of it.

    Attributes:
        run: Its id.
        status: ``running`` (or killed), ``finished``, ``interrupted`` or ``failed``.
        settings: Its configuration.
        last_step: The largest step recorded.
    """

    run: str
    status: str
    settings: dict[str, Any]
    last_step: int

    def differences(self, config: RunConfig) -> list[str]:
        """Return the settings that keep this run from being the given configuration's, each with both values."""
        wanted = config.to_dict()
        return [
            f"{name} {self.settings.get(name)!r}, not {wanted.get(name)!r}"
            for name in sorted((set(wanted) | set(self.settings)) - MAY_CHANGE - DERIVED)
            if wanted.get(name) != self.settings.get(name)
        ]


def stored_run(store: str | PathLike[str], run: str) -> StoredRun | None:
    """Return what the store holds of a run; None if it is not there.

    Raises:
        NotADirectoryError: The store's path is a file.
    """
    check_store(store)
    row = read_run_row(open_store(store), run)
    if not row:
        return None
    return StoredRun(run, row["status"], json.loads(row["config"] or "{}"), row["last_step"] or 0)


def check_store(store: str | PathLike[str]) -> None:
    """Refuse a path that can be no store.

    Raises:
        NotADirectoryError: It is a file.
    """
    if Path(store).is_file():
        raise NotADirectoryError(f"store {store} is a file: expected a folder, or a path where one can be made.")


def stored_config(store: str | PathLike[str], run: str) -> RunConfig:
    """Return the configuration that repeats a stored run.

    Raises:
        ValueError: The store has no such run, or another program recorded it with other settings.
    """
    found = stored_run(store, run)
    if found is None:
        raise ValueError(f"run {run!r} is not in store {store}: `meandrift runs --store {store}` lists those that are.")
    try:
        return RunConfig.from_dict({name: value for name, value in found.settings.items() if name not in DERIVED})
    except ValueError as error:
        raise ValueError(f"run {run!r} cannot be repeated: {error}") from error


@dataclass(frozen=True)
class Task:
    """A run to be trained, and what is to become of what the store holds of it.

    Attributes:
        run: Its id.
        config: Its settings.
        resume: Go on with it.
        overwrite: Delete it first.
        done: It is finished: there is nothing to do.
    """

    run: str
    config: RunConfig
    resume: bool = False
    overwrite: bool = False
    done: bool = False


def task_for(store: str | PathLike[str], run: str, config: RunConfig, *, overwrite: bool = False) -> Task:
    """Return what is left to do of a run: all of it, what was not reached when it stopped, or nothing.

    Raises:
        ValueError: The store holds a run of that id with other settings, and ``overwrite`` is not given.
    """
    found = stored_run(store, run)
    if found is None or overwrite:
        return Task(run, config, overwrite=overwrite and found is not None)
    if unlike := found.differences(config):
        raise ValueError(
            f"store {store} holds a run {run!r} with {'; '.join(unlike)}: name another store, or delete that run by "
            "--overwrite."
        )
    finished = found.status == "finished" and found.settings.get("epochs", 0) >= config.epochs
    return Task(run, config, resume=not finished, done=finished)
