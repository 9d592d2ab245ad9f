"""The writer: takes records from the training thread and hands their rows to the recorder in blocks.

A record reaches the recorder, where it survives SIGKILL, within about a second; :meth:`Writer.flush` waits for it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from typing import Any

from probes.background.budget import Budget
from probes.background.snapshot import compute
from probes.background.worker import Worker, computing
from probes.recording.backlog import Backlog, Lost, Sink
from probes.recording.record import Record
from probes.recording.step_rows import steps_batch
from probes.recording.tables.arrow_tables import Tables
from probes.schema import STEPS

Failure = tuple[str, Exception, int, dict[str, Any]]  # metric, exception, step and place


class Writer:
    """Moves records and rows of table ``steps`` to a recorder, in order, from a thread of its own.

    The same thread computes the metrics that records defer. Memory is bounded: with ``max_waiting`` bytes waiting,
    :meth:`put` waits, and says so once. Rows that the store refuses, for want of space say, are kept and tried again
    each second, and training does not wait for that. They are spilled at the end, or when they take more than
    ``max_refused`` bytes.
    """

    def __init__(self, sink: Sink, tables: Tables, budget: Budget) -> None:
        self._tables = tables
        self._budget, self._limits = budget, budget.limits
        self._backlog = Backlog(sink)
        self._records: deque[Record] = deque()
        self._rows: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._room = threading.Condition()
        self._writing = threading.Lock()
        self._began = self._written = time.monotonic()
        self._wanted = self._warned = False
        self._failure: Exception | None = None
        self._failures: list[Failure] = []
        self._worker = Worker(self._work, interval=self._limits.staleness, name="probe-writer")

    def put(self, record: Record) -> None:
        """Take a record; waits only while ``max_waiting`` bytes are waiting already."""
        size = record.nbytes
        with self._room:
            if self._bytes and self._bytes + size > self._limits.max_waiting:
                self._wait_for_room(size)
            self._records.append(record)
            self._bytes += size
        if self._is_new:
            self._wanted = True
        if self._wanted or (record.snapshots and self._budget.wakes):
            self._worker.wake()

    def put_row(self, row: dict[str, Any]) -> None:
        """Take a row of table ``steps``."""
        self._rows.append(row)

    def take_failure(self) -> Exception | None:
        """Return the last failure to make or write rows, once."""
        failure, self._failure = self._failure, None
        return failure or self._backlog.take_failure()

    def take_failures(self) -> list[Failure]:
        """Return the deferred metrics that failed, once."""
        failures, self._failures = self._failures, []
        return failures

    @property
    def lost(self) -> Lost | None:
        """The rows that never reached the store, if any."""
        return self._backlog.lost if self._backlog.lost.rows else None

    def flush(self) -> None:
        """Return when everything put so far has been handed to the recorder, or refused by it."""
        self._write_waiting()

    def close(self) -> None:
        """Hand over everything that waits, and end the thread."""
        self._worker.stop()
        self._write_waiting()
        self._backlog.spill(most=0)

    @property
    def _is_new(self) -> bool:
        """Whether the run has begun so shortly ago that each record is written at once."""
        return time.monotonic() - self._began < self._limits.eager

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
        self._worker.wake()
        self._room.wait_for(lambda: not self._bytes or self._bytes + size <= self._limits.max_waiting)

    def _work(self) -> None:
        """Compute deferred metrics; write, if it is time to."""
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
            self._bytes = sum(record.nbytes for record in self._records)
        return len(records)

    def _note_failure(self, metric: str, failure: Exception, step: int, /, **place: Any) -> None:
        self._failures.append((metric, failure, step, place))

    def _write_waiting(self) -> None:
        with self._writing:  # one block at a time, so that rows keep their order
            self._written, self._wanted = time.monotonic(), False
            complete = self._compute_deferred()
            with self._room:
                records = [self._records.popleft() for _ in range(complete)]
                rows = [self._rows.popleft() for _ in range(len(self._rows))]
            self._backlog.write()  # what was refused first: it makes room
            try:
                self._backlog.add(list(self._tables.batches(records)) if records else [])
                self._backlog.add([(STEPS, steps_batch(rows))] if rows else [])
            except Exception as failure:
                self._failure = failure
            self._backlog.write()
            self._backlog.spill(most=self._limits.max_refused)
            with self._room:
                self._bytes = sum(record.nbytes for record in self._records)
                self._room.notify_all()
