"""Foreign entries of a store's folders: links, FIFOs, devices, and names that are no run id.

Such entries are never read, written or followed. This module lists them to show a user why rows are missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from probes import schema
from probes.storage.files import CHECKPOINTS, LocalStoreFiles, StoreFiles
from probes.storage.safe_files import kind_of


class Stranger(NamedTuple):
    """An entry that is left out, and its kind."""

    path: Path
    problem: str


def strangers(files: StoreFiles) -> Iterator[Stranger]:
    """Yield the entries of a local store that all readers and writers leave out."""
    if not isinstance(files, LocalStoreFiles):
        return
    for table in (*schema.TABLES, *schema.BESIDE):
        yield from _below(files.spool / table, prefix=f"{schema.RUN}=")
    yield from _below(files.spool / schema.WRITERS, prefix="")
    yield from _in_folder(files.spool / CHECKPOINTS)


def _below(folder: Path, *, prefix: str) -> Iterator[Stranger]:
    """Yield the strangers in a folder that holds one folder for each run."""
    if not _is_there(folder):
        return
    if problem := _problem(folder):
        yield Stranger(folder, problem)
        return
    for path in _entries(folder):
        if problem := _problem(path):
            yield Stranger(path, problem)
        elif path.is_dir() and path.name.startswith(prefix):
            if schema.is_run_id(path.name.removeprefix(prefix)):
                yield from _in_folder(path)
            else:
                yield Stranger(path, "has a name that is not a run id")


def _in_folder(folder: Path) -> Iterator[Stranger]:
    if _is_there(folder):
        if problem := _problem(folder):
            yield Stranger(folder, problem)
            return
        yield from (Stranger(path, problem) for path in _entries(folder) if (problem := _problem(path)))


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _problem(path: Path) -> str:
    """Return why an entry is foreign; an empty text if it is a file or a folder."""
    with suppress(FileNotFoundError):  # deleted after it was listed
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            return f"is {kind_of(mode)}, which is not followed"
    return ""
