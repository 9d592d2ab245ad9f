"""One log segment as a table: the rows of its complete messages.

A segment is an Arrow IPC stream without an end mark, to which a live writer appends. An incomplete message at its end
is normal. Links, pipes, and compressed or dictionary-encoded messages are not read: no writer makes them, and a few
bytes of them could fill the memory.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from analysis.reading.files.local_files import left_out
from probes import schema

_CONTINUATION = b"\xff\xff\xff\xff"  # every IPC message begins with it
_HEADER, _COMPRESSION = 2, 3  # fields of the flatbuffers Message and RecordBatch in Arrow's Message.fbs
_UNREADABLE = (pa.ArrowException, OSError, ValueError, StopIteration, struct.error)


def read_segment(path: Path, table: str) -> pa.Table | None:
    """Return the rows of a segment under the schema of the log, in which words are strings.

    A segment with a start that is no log of this table, or one that is too large, is left out with a warning.

    Returns:
        The rows of all whole messages; None if there are none.

    Raises:
        FileNotFoundError: The segment is gone: its rows are in a part.
        NewerSchemaError: It was written under a later schema version.
    """
    try:
        content = _content(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        left_out(path, str(error))
        return None
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(content))
    try:
        stored = pa.ipc.read_schema(messages.read_next_message())
        schema.check_readable(stored.metadata, path)
        columns = _checked(stored, table)
    except schema.NewerSchemaError:
        raise
    except _UNREADABLE:
        if not _is_unfinished(content):
            left_out(path, f"its start is no log of table {table!r}; 'meandrift recover' sets such a file aside")
        return None
    batches = list(_batches(messages, columns))
    return pa.Table.from_batches(batches, columns) if batches else None


def _content(path: Path) -> bytes:
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")]
    with os.fdopen(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if about.st_size > schema.MAX_SEGMENT_BYTES:
            raise ValueError(
                f"it has {about.st_size:,} bytes, expected at most {schema.MAX_SEGMENT_BYTES:,}: "
                "'meandrift recover' brings its rows into a part"
            )
        return file.read(about.st_size)


def _checked(columns: pa.Schema, table: str) -> pa.Schema:
    """Return the schema of a log, or refuse one that no writer makes.

    Every row takes 8 bytes of the column ``step``, so a segment has no more rows than its size allows.
    """
    keys = {column.name: column.type for column in schema.KEYS[table]}
    words = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in keys.items()}
    repeated = len(set(columns.names)) < len(columns.names)
    differ = any(column.type != words.get(column.name, column.type) for column in columns)
    encoded = any(pa.types.is_dictionary(column.type) for column in columns)
    if schema.STEP not in columns.names or schema.RUN in columns.names or repeated or differ or encoded:
        raise ValueError(f"no log of table {table!r}: {columns}")
    return columns


def _batches(messages: pa.ipc.MessageReader, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield batches up to the first message that is not whole, not sound, or not such as a writer makes."""
    while True:
        try:
            message = messages.read_next_message()
            if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
                return
            batch = pa.ipc.read_record_batch(message, columns)
            batch.validate(full=True)
        except _UNREADABLE:
            return
        if batch.column(schema.STEP).null_count:
            return
        if batch.num_rows:
            yield batch


def _is_compressed(metadata: bytes) -> bool:
    """Tell whether a record batch says that its body is compressed, which pyarrow does not show."""
    [root] = struct.unpack_from("<I", metadata)
    header = _field(metadata, root, _HEADER)
    if not header:
        raise ValueError("a message without a header")
    [offset] = struct.unpack_from("<I", metadata, header)
    return bool(_field(metadata, header + offset, _COMPRESSION))


def _field(buffer: bytes, table: int, index: int) -> int:
    """Return the position of a field in a flatbuffers table; 0 if it is absent."""
    [back] = struct.unpack_from("<i", buffer, table)
    [size] = struct.unpack_from("<H", buffer, table - back)
    place = 4 + 2 * index
    if place >= size:
        return 0
    [offset] = struct.unpack_from("<H", buffer, table - back + place)
    return table + offset if offset else 0


def _is_unfinished(content: bytes) -> bool:
    """Tell whether the first message is incomplete, because its writer is writing it or was killed."""
    begun = content[:4] == _CONTINUATION[: len(content)]
    return not content.strip(b"\0") or (begun and len(content) < 8 + int.from_bytes(content[4:8], "little"))
