"""The bytes of a log segment: an Arrow IPC stream in which each message has a checksum, read within limits.

Any Arrow reader opens a segment. The metadata of a message ends with 16 bytes that Arrow takes for padding: a mark, the
CRC-32 of metadata and body, and the length of the body. With them each flipped bit is found, and a damaged message
loses only its own rows. An unfinished message at the end is told from a damaged message. Segments of earlier versions
have no checksums and are read too.

A segment may come from an untrusted source. Compressed bodies, dictionaries and nested types are refused: no writer
makes them, and a few bytes of such data could fill the memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from probes import schema
from probes.schema.part_checks import DECLARED

CHECKSUMS = {"meandrift.checksums": "crc32"}  # in the schema's metadata of a log whose messages all have a checksum
_CONTINUATION = b"\xff\xff\xff\xff"  # every IPC message begins with it
_MARK = b"mdCk"
_TRAILER = struct.Struct("<4sIQ")  # mark, CRC-32, length of the body
_MOST_METADATA = 1 << 24  # bytes of one message's metadata
_TRIES = 10_000  # positions at which a message is searched after damage
_FALSE_SUMS = 16  # marks with a false checksum that are checked after one position: a check may read a whole segment
_HEADER, _BODY_LENGTH = 2, 3  # fields of the flatbuffer Message in Arrow's Message.fbs
_COMPRESSION = 3  # field of the flatbuffer RecordBatch
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, struct.error, OverflowError, MemoryError)


@dataclass
class LogRows:
    """The rows of a segment.

    Attributes:
        rows: The rows of all sound messages, words as strings; None if not even the schema is whole.
        torn_bytes: Bytes of an unfinished message at the end.
        faults: The damage, one sentence for each fault.
    """

    rows: pa.Table | None = None
    torn_bytes: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether the segment is damaged, or the file is no log."""
        return bool(self.faults)


def with_checksum(message: pa.Buffer) -> bytes:
    """Return an encapsulated IPC message with a checksum at the end of its metadata."""
    whole = memoryview(message)
    size = int.from_bytes(whole[4:8], "little")
    metadata, body = whole[8 : 8 + size], whole[8 + size :]
    trailer = _TRAILER.pack(_MARK, _checksum(metadata, body), len(body))
    return b"".join([_CONTINUATION, (size + len(trailer)).to_bytes(4, "little"), metadata, trailer, body])


def read_log(content: bytes, table: str, path: object) -> LogRows:
    """Read the rows of a segment's content; what cannot be read is a fault.

    Args:
        content: All bytes of the segment.
        table: The table of the log.
        path: The segment's path, for the message.

    Raises:
        NewerSchemaError: It was written under a later schema version.
    """
    found = LogRows()
    columns: pa.Schema | None = None
    batches: list[pa.RecordBatch] = []
    for first, last in _sound_messages(content, found):
        try:
            whole = pa.py_buffer(content[first:last]) if first % 8 else pa.py_buffer(content).slice(first, last - first)
            message = pa.ipc.read_message(pa.BufferReader(whole))
            if columns is None:
                columns = _checked_schema(message, table, path)
            else:
                batches.append(_batch(message, columns))
        except schema.NewerSchemaError:  # not damage
            raise
        except _UNREADABLE as error:
            found.faults.append(f"the message at byte {first} cannot be read: {_first_line(error)}")
            if columns is None:
                break  # without a schema no batch can be read
    if columns is not None:
        found.rows = pa.Table.from_batches([batch for batch in batches if batch.num_rows], columns)
    return found


def _sound_messages(content: bytes, found: LogRows) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each whole message, and note the damage between them."""
    start = 0
    checked = b"meandrift.checksums" in content[: 8 + int.from_bytes(content[4:8], "little")]  # of the schema
    while start < len(content):
        end = _end_of_message(content, start, checked=checked)
        if end is None:
            following = _behind_damage(content, start)
            if following is None:
                _note_tail(content, start, found, checked=checked)
                return
            found.faults.append(f"bytes {start} to {following} are damaged")
            start = following
            continue
        yield start, end
        start = end


def _end_of_message(content: bytes, start: int, *, checked: bool) -> int | None:
    """Return the end of a message that begins at ``start``; None if it is damaged or incomplete."""
    if content[start : start + 4] != _CONTINUATION:
        return None
    body = start + 8 + int.from_bytes(content[start + 4 : start + 8], "little")
    trailer = _trailer(content, body - _TRAILER.size) if start + 8 <= body - _TRAILER.size else None
    if trailer is not None:
        return _end_if_sound(content, start, body - _TRAILER.size)
    if checked:
        return None
    source = pa.BufferReader(pa.py_buffer(content).slice(start))
    try:
        pa.ipc.read_message(source)
    except (*_UNREADABLE, EOFError):
        return None
    return start + source.tell()


def _trailer(content: bytes, place: int) -> tuple[int, int] | None:
    """Return the checksum and the body length in a trailer at a position; None if there is no trailer."""
    if content[place : place + 4] != _MARK or place + _TRAILER.size > len(content):
        return None
    _, checksum, length = _TRAILER.unpack_from(content, place)
    return checksum, length


def _end_if_sound(content: bytes, start: int, place: int) -> int | None:
    """Return the end of the message at ``start`` whose trailer is at ``place``, None if incomplete or changed."""
    trailer = _trailer(content, place)
    body = place + _TRAILER.size
    if trailer is None or body + trailer[1] > len(content):
        return None
    view = memoryview(content)
    matches = _checksum(view[start + 8 : place], view[body : body + trailer[1]]) == trailer[0]
    return body + trailer[1] if matches else None


def _is_last_message(content: bytes, start: int, place: int) -> bool:
    """Return whether all from ``start`` on is one message with a trailer at ``place``, except its length field."""
    view = memoryview(content)
    [checksum] = struct.unpack_from("<I", content, place + len(_MARK))
    return bool(_checksum(view[start + 8 : place], view[place + _TRAILER.size :]) == checksum)


def _behind_damage(content: bytes, start: int) -> int | None:
    """Return where the message after damage at ``start`` begins, or where the damaged message ends; None if unknown."""
    place, looked = content.find(_MARK, start + 8), 0
    if 0 <= place <= len(content) - _TRAILER.size and _is_last_message(content, start, place):
        return len(content)  # only its length field is damaged
    while place >= 0 and looked < _FALSE_SUMS:  # only the bytes before the metadata are damaged
        end = _end_if_sound(content, start, place)
        if end is not None:
            return end
        place, looked = content.find(_MARK, place + 1), looked + 1
    place, looked = content.find(_CONTINUATION, start + 1), 0
    for _ in range(_TRIES):
        if place < 0 or looked == _FALSE_SUMS:
            break
        trailer = place + 8 + int.from_bytes(content[place + 4 : place + 8], "little") - _TRAILER.size
        if trailer >= place + 8 and _trailer(content, trailer) is not None:
            if _end_if_sound(content, place, trailer) is not None:
                return place
            looked += 1
        place = content.find(_CONTINUATION, place + 1)
    return None


def _note_tail(content: bytes, start: int, found: LogRows, *, checked: bool) -> None:
    """Note the tail as an unfinished message, as the zeros of a power cut, or as damage."""
    tail = content[start:]
    if _is_unfinished(tail, checked=checked):
        found.torn_bytes = len(tail)
    else:
        found.faults.append(f"bytes {start} to {len(content)} are damaged")


def _is_unfinished(tail: bytes, *, checked: bool) -> bool:
    if not tail.strip(b"\0"):
        return True
    if tail[:4] != _CONTINUATION[: len(tail)]:
        return False
    body = 8 + int.from_bytes(tail[4:8], "little")
    if body > _MOST_METADATA:
        return False
    if len(tail) < body:
        return not _is_all_there(tail)
    trailer = _trailer(tail, body - _TRAILER.size)
    if trailer is not None:
        return len(tail) < body + trailer[1] and _body_length(tail[8:body]) == trailer[1]
    return not checked and _is_unfinished_without_checksum(tail)


def _is_all_there(tail: bytes) -> bool:
    """Return whether a trailer's message ends with the tail. Such a message is damaged, not unfinished."""
    place = tail.find(_MARK)
    while place >= 0:
        trailer = _trailer(tail, place)
        if trailer is not None and place + _TRAILER.size + trailer[1] == len(tail):
            return True
        place = tail.find(_MARK, place + 1)
    return False


def _body_length(metadata: bytes) -> int | None:
    """Return the length of the body in a message's metadata; None if it is invalid."""
    try:
        [root] = struct.unpack_from("<I", metadata)
        place = _field(metadata, root, _BODY_LENGTH)
        return struct.unpack_from("<q", metadata, place)[0] if place else 0
    except struct.error:
        return None


def _is_unfinished_without_checksum(tail: bytes) -> bool:
    try:
        pa.ipc.read_message(tail)
    except (*_UNREADABLE, EOFError):
        return True
    return False


def _checked_schema(message: pa.ipc.Message, table: str, path: object) -> pa.Schema:
    """Return the schema of a log, or refuse a schema that no writer makes.

    Every row takes 8 bytes of the column ``step``, so a segment has no more rows than its size allows.
    """
    columns = pa.ipc.read_schema(message)
    schema.check_readable(columns.metadata, path)
    declared = {name: column.type for name, column in DECLARED[table].items()}
    words = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in declared.items()}
    repeated = len(set(columns.names)) < len(columns.names)
    differ = [column.name for column in columns if column.type != words.get(column.name, column.type)]
    nested = [column.name for column in columns if not _is_plain(column.type)]
    if schema.STEP not in columns.names or schema.RUN in columns.names or repeated or differ or nested:
        wrong = f", of wrong type: {', '.join(differ + nested)}" if differ or nested else ""
        raise ValueError(f"no log of table {table!r}: columns {', '.join(columns.names)}{wrong}")
    return columns


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether a row of this type takes as much memory as in the file."""
    if pa.types.is_list(kind):
        return pa.types.is_primitive(kind.value_type)
    return pa.types.is_primitive(kind) or pa.types.is_string(kind)


def _batch(message: pa.ipc.Message, columns: pa.Schema) -> pa.RecordBatch:
    if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
        raise ValueError(f"it is compressed, or no record batch ({message.type})")
    batch = pa.ipc.read_record_batch(message, columns)
    batch.validate(full=True)
    if batch.column(schema.STEP).null_count:
        raise ValueError(f"rows without a step: {batch.column(schema.STEP).null_count}")
    return batch


def _is_compressed(metadata: bytes) -> bool:
    """Return whether a record batch declares a compressed body, which pyarrow does not show."""
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


def _checksum(metadata: memoryview | bytes, body: memoryview | bytes) -> int:
    return zlib.crc32(body, zlib.crc32(metadata, len(body) & 0xFFFFFFFF))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
