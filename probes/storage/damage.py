"""Damaged files of a store: whatever goes wrong while one is read ends in one error that names it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from probes.schema.printable import one_line
from probes.schema.versions import NewerSchemaError

# What Arrow and the conversion of its values raise on bytes that make no sense. RecursionError is a RuntimeError.
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
    """A file of a store cannot be read, or is not what a store has in its place. The message names it."""


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Name the file in each error that says its content cannot be read; one that is not there, or newer, is no damage.

    Raises:
        DamagedFileError: The content cannot be read.
        NewerSchemaError: The content is of a later schema version.
    """
    try:
        yield
    except (FileNotFoundError, NewerSchemaError):  # neither is damage
        raise
    except (OSError, *_SIGNS) as error:
        if isinstance(error, OSError) and (error.errno is not None or str(path) in str(error)):
            raise
        raise DamagedFileError(f"{path} is not a readable Parquet file: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, safe to show; its class where it has none."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[0]) if lines else type(error).__name__
