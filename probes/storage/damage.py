"""Damaged files of a store: every failure to read a file becomes one error that names the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from probes.schema.printable import one_line
from probes.schema.versions import NewerSchemaError

# Errors that Arrow and the conversion of its values raise on invalid bytes. RecursionError is a RuntimeError.
_SIGNS = (
    pa.ArrowException,
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class DamagedFileError(OSError):
    """A file of a store cannot be read, or is of the wrong kind for its place.

    The message names the file.
    """


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Raise an error that names the file if its content cannot be read.

    A missing or newer file is not damaged.

    Raises:
        DamagedFileError: The content cannot be read.
        NewerSchemaError: The content is of a later schema version.
    """
    try:
        yield
    except (FileNotFoundError, NewerSchemaError):  # neither error is damage
        raise
    except (OSError, *_SIGNS) as error:
        if isinstance(error, OSError) and (error.errno is not None or str(path) in str(error)):
            raise
        raise DamagedFileError(f"{path} is not a readable Parquet file: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, safe to show; the error's class if it has no message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0]) if lines else type(error).__name__
