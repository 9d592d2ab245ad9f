"""The append-only log: rows that are not yet in a part, and survive SIGKILL once ``append`` returns.

A table's log is a series of numbered segments, ``<table>-<number>.arrows``. A segment is a plain Arrow IPC stream,
which any Arrow reader opens. It has one schema message, and then one message for each batch. Each message goes to the
kernel in one unbuffered write. It has a checksum that other readers take for padding
(:mod:`probes.schema.log_segment`). A segment has no end mark: it ends with its last whole message.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from probes import schema
from probes.schema.log_segment import LogRows, read_log, with_checksum
from probes.storage.columns import RECORDED, log_schema
from probes.storage.counting import counted
from probes.storage.durability import sync
from probes.storage.safe_files import check_folder, is_regular, make_file, open_regular, read_regular


class TableLog:
    """The log of one table: appends batches, and returns finished segments.

    Args:
        directory: The folder of the segments.
        table: A table of the store other than ``runs``.
        first: Number of the first segment.
        spill: Folder for segments if ``directory`` takes none, because its disk is full or it was deleted.
        folder: Descriptor of ``directory``, which stays valid if the folder is renamed.
        fsync: Wait for the disk after each batch, so that a power cut loses nothing either.
    """

    def __init__(
        self, directory: Path, table: str, *, first: int, spill: Path, folder: int | None = None, fsync: bool = False
    ) -> None:
        self.directory, self.table = directory, table
        self._spill, self._folder = spill, folder
        self.nbytes = 0
        self._number, self._fsync = first, fsync
        self._finished: list[Path] = []
        self._descriptor: int | None = None
        self._end = 0
        self._schema: pa.Schema = pa.schema([])
        self._given: pa.Schema | None = None
        self._changed: list[tuple[int, pa.Field]] = []

    def append(self, batch: pa.RecordBatch) -> None:
        """Write a batch.

        When this returns, its rows survive SIGKILL.

        Raises:
            ValueError: A column cannot have the type that the table declares.
            OSError: The file system refused. Nothing of this batch is kept. All earlier batches are kept.
        """
        record = with_checksum(self._aligned(batch).serialize())
        if len(record) > schema.MAX_SEGMENT_BYTES // 2 and batch.num_rows > 1:
            self.append(batch.slice(0, batch.num_rows // 2))
            self.append(batch.slice(batch.num_rows // 2))
            return
        if self._descriptor is not None and (self._is_deleted or self._end + len(record) > schema.MAX_SEGMENT_BYTES):
            self.finish_segments()
        if self._descriptor is None:
            self._begin_segment()
        self._append_bytes(record)
        self.nbytes += len(record)

    def spill(self, batch: pa.RecordBatch) -> Path:
        """Write a batch that :meth:`append` refused as a separate segment in the spill folder, and return its path.

        Raises:
            OSError: That folder cannot be written either. Nothing of the batch is kept.
        """
        aligned = self._aligned(batch)
        self.finish_segments()
        return self._write_spilled([with_checksum(message.serialize()) for message in (self._schema, aligned)])

    def finish_segments(self) -> list[Path]:
        """Close the current segment and return all finished segments, oldest first.

        Raises:
            OSError: The segment was deleted, and its rows cannot be written to the spill folder. They are kept open.
        """
        if self._descriptor is not None:
            if self._is_deleted:
                self._write_spilled([os.pread(self._descriptor, self._end, 0)])
            else:
                self._finish(self.directory / schema.segment_name(self.table, self._number))
            os.close(self._descriptor)
            self._descriptor = None
            self.nbytes = 0
        return list(self._finished)

    @property
    def _is_deleted(self) -> bool:
        """Whether the current segment was deleted.

        Its rows are lost when it is closed.
        """
        assert self._descriptor is not None
        return os.fstat(self._descriptor).st_nlink == 0

    def _write_spilled(self, content: Sequence[bytes]) -> Path:
        folder = check_folder(self._spill, root=self._spill.parents[1], make=True)
        path = folder / schema.segment_name(self.table, self._number)
        descriptor = make_file(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self._finish(path)
        return path

    def _finish(self, segment: Path) -> None:
        self._finished.append(segment)
        self._number += 1

    def forget(self, segment: Path) -> None:
        """Remove a segment from the list of finished segments, because its rows are in a part."""
        self._finished.remove(segment)

    def _aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch under the schema of the log.

        Columns that it lacks are null.
        """
        if self._given is None or not batch.schema.equals(self._given):
            self._meet(batch.schema)
        for index, column in self._changed:
            position = batch.schema.get_field_index(column.name)
            if position < 0:
                batch = batch.add_column(index, column, pa.nulls(batch.num_rows, column.type))
            else:
                batch = batch.set_column(position, column, _converted(batch.column(position), column, self.table))
        if batch.column(schema.STEP).null_count:
            raise ValueError(
                f"table {self.table!r}: {counted(batch.column(schema.STEP).null_count, 'row')} without a step; give one"
            )
        return batch if batch.schema.equals(self._schema) else batch.select(self._schema.names)

    def _meet(self, given: pa.Schema) -> None:
        """Prepare for batches of schema ``given``.

        A column that is new to the log begins a new segment.
        """
        wanted = log_schema(self.table, given)
        new = [column for column in wanted if column.name not in self._schema.names]
        if new:
            self.finish_segments()
            self._schema = pa.schema([*self._schema, *new], metadata=wanted.metadata)
        self._given = given
        self._changed = [
            (index, column)
            for index, column in enumerate(self._schema)
            if column.name not in given.names or given.field(column.name).type != column.type
        ]

    def _begin_segment(self) -> None:
        path = self.directory / schema.segment_name(self.table, self._number)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND  # reading is needed only if the file is deleted
        self._descriptor = open_regular(path, flags, folder=self._folder)
        self._end = 0
        if self._fsync:
            sync(self.directory)
        try:
            self._append_bytes(with_checksum(self._schema.serialize()))
        except OSError:
            os.close(self._descriptor)
            self._descriptor = None
            os.unlink(path if self._folder is None else path.name, dir_fd=self._folder)
            raise

    def _append_bytes(self, record: bytes) -> None:
        assert self._descriptor is not None
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if self._fsync:
                os.fsync(self._descriptor)
        except BaseException:  # Ctrl-C may come between two writes of one message
            self._cut_torn_end()
            raise
        self._end += len(record)

    def _cut_torn_end(self) -> None:
        """Remove an incomplete message from the end, because rows appended after it could not be read."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self.finish_segments()  # readers stop at the incomplete message; further rows go into the next segment


def _converted(values: pa.Array, column: pa.Field, table: str) -> pa.Array:
    try:
        return values.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"table {table!r}, column {column.name!r}: got {values.type}, expected {column.type}: {error}"
        ) from error


def find_segments(directory: Path, table: str) -> dict[int, Path]:
    """Return the segments of a table in a directory by number, oldest first; an empty dict without the directory.

    Only regular files count: a link or folder with the name of a segment is left out.
    """
    with suppress(FileNotFoundError):
        numbered = {schema.segment_number(path.name, table): path for path in sorted(directory.iterdir())}
        return {number: path for number, path in numbered.items() if number is not None and is_regular(path)}
    return {}


def read_segment(path: Path) -> LogRows:
    """Read all undamaged messages of a segment, also if its end is incomplete.

    Raises:
        UnsafePathError: The segment is no regular file, or is longer than a log's segments are.
        FileNotFoundError: It is not there.
        NewerSchemaError: It was written under a later schema version.
    """
    table = schema.segment_table(path.name)
    assert table in RECORDED, path
    return read_log(read_regular(path, limit=schema.MAX_SEGMENT_BYTES), table, path)
