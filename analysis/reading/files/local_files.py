"""The files of a store in a folder: regular files in folders that are named after runs.

A store may come from an untrusted source. Links, pipes and folders with other names are left out, with a warning that
names each.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

from probes import schema
from probes.schema.printable import printable

RUN_PREFIX = schema.run_folder("")
_LINK = "it is a symbolic link: copy the run into the store, or open the other store"


def left_out(path: str | Path, why: str) -> None:
    """Warn that a file or folder is not read."""
    warnings.warn(
        printable(f"{str(path)!r} is left out: {why}"), stacklevel=2
    )  # all warnings come from this line, so Python shows each once


def existing_store(store: str | Path) -> Path:
    """Return the store's path.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: The path is a file.
    """
    path = Path(store)
    if not path.exists():
        raise FileNotFoundError(
            f"store {str(store)!r} does not exist; train with a Probe to make one, or check the path"
        )
    if not path.is_dir():
        raise ValueError(f"store {str(store)!r} is a file; expected the folder that holds {', '.join(schema.TABLES)}")
    return path


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name, none if it is missing or a link."""
    try:
        mode = folder.lstat().st_mode
        if stat.S_ISLNK(mode):
            left_out(folder, _LINK)
        if not stat.S_ISDIR(mode):
            return []
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def run_folders(parent: Path, *, prefix: str = RUN_PREFIX) -> dict[str, Path]:
    """Return the run folders in a folder by run id, sorted. Links and folders not named after a run are left out."""
    found = {}
    for entry in entries(parent):
        if not entry.name.startswith(prefix):
            continue
        if entry.is_symlink():
            left_out(entry.path, _LINK)
        elif entry.is_dir(follow_symlinks=False) and is_run_folder(entry.path, prefix=prefix):
            found[entry.name.removeprefix(prefix)] = Path(entry.path)
    return found


def is_run_folder(path: str, *, prefix: str = RUN_PREFIX) -> bool:
    """Tell whether a folder is named after a run; warn if not."""
    name = path.replace(os.sep, "/").rpartition("/")[2]
    run = name.removeprefix(prefix)
    if name.startswith(prefix) and schema.is_run_id(run):
        return True
    left_out(
        path, f"{run!r} is not a run id: expected a letter, then letters, digits, '.', '_' or '-', and no nan or null"
    )
    return False


def regular_files(folder: Path, wanted: Callable[[str], object]) -> list[Path]:
    """Return the regular files of a folder with wanted names, sorted. Links and others are left out with a warning."""
    found = []
    for entry in entries(folder):
        if not wanted(entry.name):
            continue
        if entry.is_symlink():
            left_out(entry.path, _LINK)
        elif entry.is_file(follow_symlinks=False):
            found.append(Path(entry.path))
        else:
            left_out(entry.path, "it is not a regular file")
    return found


def parts_of(store: Path, table: str, run: str) -> list[Path]:
    """Return a run's finished Parquet parts in a table, sorted; files still being written are left out."""
    folder = store / table
    if folder.is_symlink():  # `run_folders` has warned of it
        return []
    return regular_files(folder / schema.run_folder(run), is_part)


def is_part(name: str) -> bool:
    """Tell whether a file's name is that of a finished part, by the rule of all readers of Parquet folders."""
    return name.endswith(".parquet") and not name.startswith(("_", "."))
