"""One log segment as a table: the rows of its sound messages.

A live writer appends to a segment, so an incomplete message at its end is normal. Links and pipes are not read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pyarrow as pa

from analysis.reading.files.local_files import left_out
from probes import schema
from probes.schema.log_segment import read_log


def read_segment(path: Path, table: str) -> pa.Table | None:
    """Return the rows of a segment under the schema of the log, in which texts are plain strings.

    A segment that is no log of this table or that is too large is left out with a warning. So are damaged messages.

    Returns:
        The rows of all sound messages; None if there are none.

    Raises:
        FileNotFoundError: The segment is gone: its rows are in a part.
        NewerSchemaError: The segment was written under a later schema version.
    """
    try:
        content = _content(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        left_out(path, str(error))
        return None
    found = read_log(content, table, path)
    if found.faults:
        what = "it" if found.rows is None else "a part of it"
        left_out(path, f"{what} is damaged or no log: {found.faults[0]}; 'meandrift recover' sets such a file aside")
    return found.rows if found.rows is not None and found.rows.num_rows else None


def _content(path: Path) -> bytes:
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")]
    with os.fdopen(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a regular file")
        if about.st_size > schema.MAX_SEGMENT_BYTES:
            raise ValueError(
                f"it has {about.st_size:,} bytes, expected at most {schema.MAX_SEGMENT_BYTES:,}: "
                "'meandrift recover' brings its rows into a part"
            )
        return file.read(about.st_size)
