"""The checksum of a part: the CRC-32 of the whole file, kept in the file's own footer.

The footer's key-value metadata holds a word that ends with eight hexadecimal digits. They are the checksum of the file,
computed with zeros in place of these digits. Parquet's own checksums cover the data of its pages, but neither the
footer nor the page headers.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

KEY, WORD = "meandrift.checksum", "meandrift-crc32-"
DIGITS = "0" * 8
_MAGIC = b"PAR1"
_AT_ONCE = 8 << 20


class Readable(Protocol):
    """A file that can be read from any position."""

    def seek(self, position: int, whence: int = 0, /) -> object:
        """Move to a position."""

    def tell(self) -> int:
        """Return the current position."""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes."""


def metadata(own: dict[bytes, bytes] | None) -> dict[bytes, bytes]:
    """Return the metadata of a schema with room for the checksum."""
    return {**(own or {}), KEY.encode(): f"{WORD}{DIGITS}".encode()}


def seal(path: Path) -> None:
    """Write the checksum of a finished file, whose schema has :func:`metadata`, into its footer."""
    with path.open("r+b") as file:
        place = _place_of_digits(file)
        assert place is not None, path
        digits = _computed(file, place)
        file.seek(place)
        file.write(digits)


def checksum_problem(file: Readable | BinaryIO) -> str | None:
    """Return the problem with the checksum of a file; None if it is right, or if an older file has none."""
    _, footer = _footer(file)
    word, key = footer.find(WORD.encode()), footer.find(KEY.encode())
    if word < 0 and key < 0:
        return None
    place = _place_of_digits(file)
    if key < 0 or place is None:
        return "was changed since it was written: its checksum is damaged"
    file.seek(place)
    said = file.read(len(DIGITS))
    return None if said == _computed(file, place) else "was changed since it was written: its checksum is another"


def _place_of_digits(file: Readable | BinaryIO) -> int | None:
    first, footer = _footer(file)
    word = footer.find(WORD.encode())
    return None if word < 0 else first + word + len(WORD)


def _footer(file: Readable | BinaryIO) -> tuple[int, bytes]:
    """Return the position and the bytes of the footer; no bytes if the file is no Parquet file."""
    file.seek(0, 2)
    size = file.tell()
    if size < 12:
        return size, b""
    file.seek(size - 8)
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        return size, b""
    file.seek(size - 8 - length)
    return size - 8 - length, file.read(length)


def _computed(file: Readable | BinaryIO, place: int) -> bytes:
    """Return the checksum of a file as digits, computed with zeros at ``place``."""
    file.seek(0)
    left, found = place, 0
    while left:
        piece = file.read(min(left, _AT_ONCE))
        if not piece:
            break
        found, left = zlib.crc32(piece, found), left - len(piece)
    found = zlib.crc32(DIGITS.encode(), found)
    file.seek(place + len(DIGITS))
    while piece := file.read(_AT_ONCE):
        found = zlib.crc32(piece, found)
    return f"{found:08x}".encode()
