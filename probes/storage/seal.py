"""Checks of tensor files before torch unpacks them: they must be unchanged and must fit into memory.

``torch.load(weights_only=True)`` executes nothing of a file, but it unpacks compressed parts of any unpacked size, and
makes byte arrays of any length that the file asks for. ``torch.save`` writes neither compressed parts nor such arrays.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from typing import BinaryIO

_SEAL = b"\nmeandrift-crc32-"  # at the end of a file, before eight hexadecimal digits
_LEGACY_PICKLES = 5  # magic number, protocol, machine, object, keys of the storages; the storages follow as bytes
_BYTE_ARRAYS = {"builtins bytearray", "__builtin__ bytearray"}


def sealed(content: bytes | memoryview) -> bytes:
    """Return the checksum to append to this content."""
    return _SEAL + f"{zlib.crc32(content):08x}".encode()


def unsealed(content: bytes) -> bytes:
    """Return the content of a file without its checksum.

    Files of earlier versions have only those of the zip archive.

    Raises:
        ValueError: The file was changed after it was written, or it is no uncompressed archive as torch writes it.
    """
    place = len(content) - len(_SEAL) - 8
    if content[place : place + len(_SEAL)] == _SEAL:
        digits, content = content[-8:], content[:place]
        if digits != f"{zlib.crc32(content):08x}".encode():
            raise ValueError("it was changed since it was written: its checksum is another")
    check_archive(io.BytesIO(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"its part {damaged} was changed since it was written")
    return content


def check_archive(file: BinaryIO) -> None:
    """Refuse a file of ``torch.save`` that takes more memory than it has bytes.

    Raises:
        ValueError: The file is compressed, has a byte array, or is neither an archive nor a series of pickles.
    """
    if not zipfile.is_zipfile(file):
        _check_pickles(file, _LEGACY_PICKLES)
        return
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed, as torch writes none")
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as part:
                    _check_pickles(io.BytesIO(part.read()), 1)


def _check_pickles(file: BinaryIO, count: int) -> None:
    file.seek(0)
    for _ in range(count):
        # torch's unpickler accepts no other opcode that names an object.
        if any(code.name == "GLOBAL" and argument in _BYTE_ARRAYS for code, argument, _ in pickletools.genops(file)):
            raise ValueError("it has a byte array, as no file of tensors needs")
