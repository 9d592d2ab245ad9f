"""File operations inside a store that follow no link and open regular files only.

A store may come from a stranger. A symbolic link in it leads a write or a deletion to a file outside the store. A hard
link shares its content with a file outside. Opening a FIFO stops the process for ever. The store's own folder may be a
link, because its user named it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

# Platforms without these flags (Windows) rely on the check of the entry before it is opened.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}


class UnsafePathError(OSError):
    """An entry of a store is a link, a FIFO, a device, or otherwise of the wrong kind for its place."""


def kind_of(mode: int) -> str:
    """Return the words for the kind of entry in a file mode, such as "a symbolic link"."""
    return _KINDS.get(stat.S_IFMT(mode), "an entry of unknown kind")


def check_folder(folder: Path, *, root: Path, make: bool = False) -> Path:
    """Return a folder below a root after checking that it and every folder between them is a real folder.

    Args:
        folder: The folder. With ``make`` it exists afterwards. Without ``make`` it may be missing.
        root: The store's own folder, which may be a link.
        make: Make missing folders.

    Raises:
        UnsafePathError: One of them is a link, or no folder.
    """
    if make:
        root.mkdir(parents=True, exist_ok=True)
    reached = root
    for name in folder.relative_to(root).parts:
        reached = reached / name
        if make:
            with suppress(FileExistsError):
                reached.mkdir()
        try:
            mode = reached.lstat().st_mode
        except FileNotFoundError:
            if make:
                raise  # another process deleted the folder right after it was made
            return folder
        if not stat.S_ISDIR(mode):
            raise _unsafe(reached, kind_of(mode), "a folder")
    return folder


def open_regular(path: Path, flags: int, *, folder: int | None = None) -> int:
    """Open a regular file and return its descriptor.

    Args:
        path: The file. The caller has checked the folders above it.
        flags: The flags of :func:`os.open`.
        folder: Descriptor of the file's folder, which is then found even if it was renamed.

    Raises:
        UnsafePathError: The file is a link, a FIFO, a device or a folder, or is to be written and has a second name.
        FileNotFoundError: It is not there.
    """
    name = path if folder is None else Path(path.name)
    with suppress(FileNotFoundError):
        _check_file(path, os.stat(name, dir_fd=folder, follow_symlinks=False), flags)
    try:
        descriptor = os.open(name, flags | _SAFELY | _BINARY, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, "a symbolic link", "a file") from error
        raise
    try:
        _check_file(path, os.fstat(descriptor), flags)
    except UnsafePathError:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, *, limit: int, folder: int | None = None) -> bytes:
    """Return the content of a regular file.

    Raises:
        UnsafePathError: It is no regular file, or longer than ``limit`` bytes.
        FileNotFoundError: It is not there.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, folder=folder), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise UnsafePathError(f"{path} has {size} bytes: expected {limit} at most, so it is not read")
        return file.read(limit)


def make_file(path: Path) -> int:
    """Make an empty file and return its descriptor for writing.

    A file or link of that name is replaced.
    """
    with suppress(FileNotFoundError):
        remove(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY | _BINARY, 0o666)


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content.

    A link itself is deleted, and its target stays.

    Raises:
        FileNotFoundError: It is not there.
    """
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path)  # rmtree uses directory descriptors, so no link can be put into the path meanwhile
    else:
        path.unlink()


def is_regular(path: Path) -> bool:
    """Return whether the path is a regular file, and no link to a file."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _check_file(path: Path, status: os.stat_result, flags: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unsafe(path, kind_of(status.st_mode), "a file")
    if status.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        raise _unsafe(path, "a file with a second name (a hard link)", "a file with one name")


def _unsafe(path: Path, found: str, expected: str) -> UnsafePathError:
    return UnsafePathError(
        f"{path} is {found}: expected {expected}, so nothing is read from it or written to it. A store made by "
        "meandrift has no such entry: delete it if you do not know it"
    )
