"""Limits of data files: the size that a header states is checked before memory is allocated."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MOST_PIXELS = 1 << 26  # of one picture: 8,192 x 8,192


def check_memory(nbytes: int, what: str) -> None:
    """Refuse data that would take more than half of this machine's memory.

    Raises:
        ValueError: The data would take more.
    """
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 1 << 34
    if nbytes > most:
        raise ValueError(
            f"{what} would take {nbytes:,} bytes; expected {most:,} at most, half of this machine's memory"
        )


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of an ``.npz`` file, after a check that each has the length in its header.

    Raises:
        ValueError: An array is missing, is truncated or holds objects, or the arrays would take too much memory.
        zipfile.BadZipFile: The file is no ``.npz``.
    """
    with zipfile.ZipFile(path) as archive:
        held = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if missing := [name for name in names if name not in held]:
            raise ValueError(f"it lacks {', '.join(missing)}; expected the arrays {', '.join(names)}")
        check_memory(sum(held[name].file_size for name in names), "its arrays")
        return {name: _read(archive, held[name]) for name in names}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = header(file)
        count = 1
        for size in shape:
            count *= size
        if min(shape, default=0) < 0 or file.tell() + count * kind.itemsize != entry.file_size:
            raise ValueError(
                f"{entry.filename} holds {entry.file_size:,} bytes, which do not fit its header: {shape} of {kind}"
            )
    with archive.open(entry) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


@contextmanager
def reading_picture(path: str | Path) -> Iterator[None]:
    """Turn any error of a picture's decoder into an error that names the picture.

    Raises:
        ValueError: The picture cannot be read.
    """
    try:
        yield
    except Exception as error:  # Pillow raises SyntaxError, struct.error, zlib.error and more on broken files
        raise ValueError(f"picture {path} cannot be read: {error}.") from error


def check_pixels(size: tuple[int, int]) -> None:
    """Refuse a picture whose header asks for too much memory.

    Raises:
        ValueError: The picture has more than ``MOST_PIXELS`` pixels.
    """
    width, height = size
    if width * height > MOST_PIXELS:
        raise ValueError(f"it says it has {width:,} x {height:,} pixels, expected {MOST_PIXELS:,} at most")
