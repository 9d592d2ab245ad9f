"""A fingerprint of a store's files, which tells whether the store has changed since it was last read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs

from analysis.reading.files.remote_parts import filesystem_of
from probes import schema


def fingerprint(store: str | os.PathLike[str]) -> str:
    """Return a word that changes when rows are recorded, joined or removed: a hash of file names, sizes and times.

    Raises:
        ValueError: The URL has a scheme that neither pyarrow nor an installed fsspec knows.
    """
    filesystem, root = filesystem_of(os.fspath(store))
    found = _local_files(Path(root)) if filesystem is None else _remote_files(filesystem, root)
    return hashlib.sha256("\n".join(sorted(found)).encode(errors="surrogateescape")).hexdigest()[:16]


def _local_files(root: Path) -> Iterator[str]:
    for table in (*schema.TABLES, schema.WRITERS):
        yield from _below(root / table)


def _below(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _below(Path(entry.path))
                else:
                    about = entry.stat(follow_symlinks=False)
                    yield f"{entry.path} {about.st_size} {about.st_mtime_ns}"
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # gone since it was listed, or not readable for this user


def _remote_files(filesystem: pafs.FileSystem, root: str) -> Iterator[str]:
    for table in schema.TABLES:
        chosen = pafs.FileSelector(f"{root}/{table}", recursive=True, allow_not_found=True)
        for info in filesystem.get_file_info(chosen):
            if info.is_file:
                yield f"{info.path} {info.size} {info.mtime_ns}"
