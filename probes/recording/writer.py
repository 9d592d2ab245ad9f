"""The writer: takes records from the training thread and passes their rows to the recorder in blocks.

A record reaches the recorder within about a second, and then survives SIGKILL. :meth:`Writer.flush` waits for this.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from probes.background.budget import Budget
from probes.background.snapshot import compute
from probes.background.worker import Worker, computing
from probes.recording.backlog import Backlog, Lost, Sink
from probes.recording.record import Record
from probes.recording.step_rows import steps_batch
from probes.recording.tables.arrow_tables import Tables
from probes.recording.tables.observers import Observers
from probes.schema import STEPS

LONGEST_WAIT = 0.02  # seconds that a step waits for room
SLOW = 0.5  # seconds for a block, from which on a store counts as slow
ROW_BYTES = 1024  # about, for a row of table `steps` that waits
Failure = tuple[str, Exception, int, dict[str, Any]]  # metric, exception, step and place


class Writer:
    """Moves records and rows of table ``steps`` to a recorder, in order, from a separate thread.

    The same thread computes the deferred metrics of records. Memory is bounded, and no step waits longer than
    ``LONGEST_WAIT``. If the store is slow, fewer records are taken the more bytes wait. No record is taken when
    ``max_waiting`` bytes wait. Every record that was taken is written. Rows that the store refuses, for example because
    the disk is full, are kept and tried again each second. They are spilled at the end, or when they take more than
    ``max_refused`` bytes.
    """

    def __init__(self, sink: Sink, tables: Tables, budget: Budget, observers: Observers | None = None) -> None:
        self._tables, self._observers = tables, observers
        self._budget, self._limits = budget, budget.limits
        self._backlog = Backlog(sink)
        self._records: deque[Record] = deque()
        self._rows: deque[dict[str, Any]] = deque()
        self._bytes = self._logged_bytes = 0
        self._room = threading.Condition()
        self._writing = threading.Lock()
        self._began = self._written = time.monotonic()
        self._wanted = False
        self._offered = 0
        self._writing_since: float | None = None
        self._stuck = False
        self._failure: Exception | None = None
        self._failures: list[Failure] = []
        self._worker = Worker(self._work, interval=self._limits.staleness, name="probe-writer")

    def put(self, record: Record) -> bool:
        """Take a record, and return whether it was taken.

        If the store is too slow, some are not.
        """
        size = record.nbytes
        with self._room:
            if not self._takes(size):
                self._budget.give_back(sum(snapshot.nbytes for snapshot in record.snapshots))
                return False
            self._records.append(record)
            self._bytes += size
            self._logged_bytes += record.logged_bytes
        if self._is_new or 2 * self._waiting > self._limits.max_waiting:  # before the memory is full
            self._wanted = True
        if self._wanted or (record.snapshots and self._budget.wakes):
            self._worker.wake()
        return True

    def put_row(self, row: dict[str, Any]) -> bool:
        """Take a row of table ``steps``, and return whether it was taken."""
        with self._room:
            taken = self._fits(ROW_BYTES)
            if taken:
                self._rows.append(row)
        return taken

    def take_failure(self) -> Exception | None:
        """Return the last failure to make or write rows, once."""
        failure, self._failure = self._failure, None
        return failure or self._backlog.take_failure()

    def take_failures(self) -> list[Failure]:
        """Return the deferred metrics that failed, once."""
        failures, self._failures = self._failures, []
        return failures

    @property
    def waiting(self) -> int:
        """The approximate number of bytes that the waiting values will take in the log."""
        return self._logged_bytes

    @property
    def lost(self) -> Lost | None:
        """The rows that never reached the store, if any."""
        return self._backlog.lost if self._backlog.lost.rows else None

    def flush(self) -> None:
        """Return when the recorder has taken or refused all rows so far."""
        self._write_waiting()

    def close(self) -> None:
        """Write all rows that wait, and end the thread."""
        self._worker.stop()
        self._write_waiting()
        self._backlog.spill(most=0)

    @property
    def _is_new(self) -> bool:
        """Whether the run began so recently that each record is written at once."""
        return time.monotonic() - self._began < self._limits.eager

    def _takes(self, size: int) -> bool:
        """Return whether a record is taken now, after a wait for the current block if necessary."""
        if not self._fits(size):
            self._wanted = True
            self._worker.wake()
            if self._stuck or not self._room.wait_for(lambda: self._fits(size), LONGEST_WAIT):
                self._stuck = True  # no further step waits until a block is done
                return False
        self._offered += 1
        is_slow = self._writing_since is not None and time.monotonic() - self._writing_since > SLOW
        return not is_slow or self._offered % self._stride == 0

    def _fits(self, size: int) -> bool:
        return not self._waiting or self._waiting + size < self._limits.max_waiting  # a single one may exceed the limit

    @property
    def _waiting(self) -> int:
        return self._bytes + ROW_BYTES * len(self._rows)

    @property
    def _stride(self) -> int:
        """One record in this number is taken: 1 until half of ``max_waiting`` waits, 2 until three quarters, then 4."""
        room = self._limits.max_waiting
        return int(2 ** int(math.log2(room / max(1, room - self._waiting))))

    def _work(self) -> None:
        """Compute deferred metrics, and write if a write is due."""
        if self._wanted or time.monotonic() - self._written >= self._limits.staleness:
            self._write_waiting()
        else:
            with self._writing:
                self._compute_deferred()

    def _compute_deferred(self) -> int:
        """Compute the metrics that records defer; return the number of complete records."""
        records = list(self._records)
        snapshots = [snapshot for record in records for snapshot in record.snapshots]
        if snapshots:
            with computing(self._budget.threads):
                results = compute(snapshots, self._budget, fail=self._note_failure)
            by_step = {record.step: record for record in records}
            for result in results:
                by_step[result.step].results.append(result)
            for record in records:
                record.snapshots.clear()
        with self._room:
            self._count_waiting()
        return len(records)

    def _count_waiting(self) -> None:
        self._bytes = sum(record.nbytes for record in self._records)
        self._logged_bytes = sum(record.logged_bytes for record in self._records)

    def _note_failure(self, metric: str, failure: Exception, step: int, /, **place: Any) -> None:
        self._failures.append((metric, failure, step, place))

    def _write_waiting(self) -> None:
        with self._writing:  # one block at a time, so that rows keep their order
            self._written, self._wanted = time.monotonic(), False
            self._writing_since = self._written
            complete = self._compute_deferred()
            with self._room:
                records = [self._records.popleft() for _ in range(complete)]
                rows = [self._rows.popleft() for _ in range(len(self._rows))]
            self._backlog.write()  # refused rows first, which frees memory
            try:
                for batches in self._batches(records, rows):
                    self._backlog.add(batches)
                    if self._observers is not None:
                        self._observers.put(batches)
            except Exception as failure:
                self._failure = failure
            self._backlog.write()
            self._backlog.spill(most=self._limits.max_refused)
            with self._room:
                self._count_waiting()
                self._writing_since, self._stuck = None, False
                self._room.notify_all()

    def _batches(self, records: list[Record], rows: list[dict[str, Any]]) -> Iterator[list[tuple[str, pa.RecordBatch]]]:
        if records:
            yield list(self._tables.batches(records))
        if rows:
            yield [(STEPS, steps_batch(rows))]
