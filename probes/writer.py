"""The writer thread: takes finished records from the training thread and hands them to the recorder in blocks.

A record reaches the recorder, where it survives SIGKILL, within about a second; :meth:`Writer.flush` waits for it.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from typing import Any, Protocol

import pyarrow as pa

from probes.records import Record, Tables, steps_batch

STALENESS = 1.0  # seconds a record may wait for company
MAX_WAITING = 32 << 20  # bytes of records waiting before the training thread waits for the writer


class Sink(Protocol):
    """What the writer needs of a recorder."""

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table."""


class Writer:
    """Moves records and rows of table ``steps`` to a recorder, in order, from a thread of its own.

    The thread wakes once in ``STALENESS`` seconds rather than for each record: a training thread with steps of a few
    milliseconds would feel every change of hands. Memory is bounded: with ``MAX_WAITING`` bytes waiting, :meth:`put`
    waits, and says so once.
    """

    def __init__(self, sink: Sink, tables: Tables) -> None:
        self._sink = sink
        self._tables = tables
        self._records: deque[Record] = deque()
        self._rows: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._wanted = False
        self._closing = False
        self._warned = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="probe-writer", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Take a record; waits only while ``MAX_WAITING`` bytes are waiting already."""
        size = record.nbytes
        with self._changed:
            if self._bytes and self._bytes + size > MAX_WAITING:
                self._wait_for_room(size)
            self._records.append(record)
            self._bytes += size

    def put_row(self, row: dict[str, Any]) -> None:
        """Take a row of table ``steps``."""
        self._rows.append(row)

    def take_failure(self) -> Exception | None:
        """Return the last failure to write, once."""
        failure, self._failure = self._failure, None
        return failure

    def flush(self) -> None:
        """Return when everything put so far has been handed to the recorder."""
        self._write_waiting()

    def close(self) -> None:
        """Hand over what is waiting and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._write_waiting()

    def _wait_for_room(self, size: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the probe's writer cannot keep up: {self._bytes / 2**20:.0f} MiB are waiting, so training"
                " now waits for the store. Record more rarely (every=) or write to a faster disk.",
                RuntimeWarning,
                stacklevel=2,
            )
        self._wanted = True
        self._changed.notify_all()
        self._changed.wait_for(lambda: not self._bytes or self._bytes + size <= MAX_WAITING)

    def _run(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closing, timeout=STALENESS)
                self._wanted = False
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._writing:  # one block at a time, so that rows keep their order
            with self._changed:
                records, rows = list(self._records), list(self._rows)
                self._records.clear()
                for _ in rows:
                    self._rows.popleft()
            try:
                self._write(records, rows)
            except Exception as failure:  # the training thread reports it at its next step
                self._failure = failure
            with self._changed:
                self._bytes -= sum(record.nbytes for record in records)
                self._changed.notify_all()

    def _write(self, records: list[Record], rows: list[dict[str, Any]]) -> None:
        for table, batch in self._tables.batches(records) if records else ():
            self._sink.write(table, batch)
        if rows:
            self._sink.write("steps", steps_batch(rows))
