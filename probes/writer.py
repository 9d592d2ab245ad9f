"""The writer thread: takes finished records from the training thread and hands them to the recorder in blocks.

A record reaches the recorder, where it survives SIGKILL, within about a second; :meth:`Writer.flush` waits for it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import torch

from probes.head_start import usable_cores
from probes.later import Failure, work_out
from probes.records import Record, Tables, steps_batch

STALENESS = 1.0  # seconds a record may wait for company
MAX_COPIED = 8 << 20  # bytes of copies waiting for their metrics; what is beyond it is measured in the training thread
AT_LEAST = 2  # steps that must fit: a larger network costs more to copy than the calls that this saves
ENOUGH_COPIED = 4 << 20  # from which the writer looks at them
MAX_WAITING = 32 << 20  # bytes of records waiting before the training thread waits for the writer
MAX_REFUSED = 32 << 20  # bytes of rows kept in memory while the store refuses them; from there on they are spilled


class Sink(Protocol):
    """What the writer needs of a recorder."""

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table.

        Raises:
            OSError: Not now.
        """

    def spill(self, table: str, batch: pa.RecordBatch) -> None:
        """Keep rows that :meth:`write` refuses in another place.

        Raises:
            OSError: That place takes none either.
        """


@dataclass
class Lost:
    """Rows that neither the store nor the spool took.

    Attributes:
        rows: How many, of all tables.
        first_step: The first step that lacks some.
        last_step: The last.
        why: What the store said at the last of them.
    """

    rows: int = 0
    first_step: int = 0
    last_step: int = 0
    why: str = ""

    def add(self, batch: pa.RecordBatch, why: str) -> None:
        """Count a batch in."""
        steps = batch.column("step")
        first, last = steps[0].as_py(), steps[-1].as_py()
        self.first_step = min(first, self.first_step) if self.rows else first
        self.last_step = max(last, self.last_step)
        self.rows += batch.num_rows
        self.why = why


class Writer:
    """Moves records and rows of table ``steps`` to a recorder, in order, from a thread of its own.

    The thread wakes once in ``STALENESS`` seconds rather than for each record: a training thread with steps of a few
    milliseconds would feel every change of hands. It also runs the metrics that records bring copies for, as soon as
    ``ENOUGH_COPIED`` bytes of them are waiting. Memory is bounded: with ``MAX_WAITING`` bytes waiting, :meth:`put`
    waits, and says so once. Rows that the store refuses, for want of space say, are kept and tried again each second;
    training does not wait for that. They are spilled at the end, or when they fill ``MAX_REFUSED`` bytes.
    """

    def __init__(self, sink: Sink, tables: Tables) -> None:
        self._sink = sink
        self._tables = tables
        self._records: deque[Record] = deque()
        self._rows: deque[dict[str, Any]] = deque()
        self._bytes = self._copied = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._wanted = False
        self._closing = False
        self._warned = False
        self._failure: Exception | None = None
        self._failures: list[Failure] = []
        self._threads = torch.get_num_threads()
        self._refused: deque[tuple[str, pa.RecordBatch]] = deque()
        self._lost, self._reason = Lost(), ""
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
            self._copied += record.copied
            if self._copied >= ENOUGH_COPIED:
                self._changed.notify_all()

    @property
    def room(self) -> int:
        """Bytes of copies that the next record may bring; none where this thread would take cores from training."""
        self._threads = torch.get_num_threads()
        if self._threads > 1 and 2 * self._threads > usable_cores():
            return 0
        return max(0, min(MAX_COPIED // AT_LEAST, MAX_COPIED - self._copied))

    def put_row(self, row: dict[str, Any]) -> None:
        """Take a row of table ``steps``."""
        self._rows.append(row)

    def take_failure(self) -> Exception | None:
        """Return the last failure to write, once."""
        failure, self._failure = self._failure, None
        return failure

    def take_failures(self) -> list[Failure]:
        """Return the metrics that have failed on copies, once."""
        failures, self._failures = self._failures, []
        return failures

    @property
    def lost(self) -> Lost | None:
        """The rows that never reached the store, if any."""
        return self._lost if self._lost.rows else None

    def flush(self) -> None:
        """Return when everything put so far has been handed to the recorder, or refused by it."""
        self._write_waiting()

    def close(self) -> None:
        """Hand over what is waiting and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._write_waiting()
        self._spill(most=0)

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
            due = time.monotonic() + STALENESS
            while not self._wait(due - time.monotonic()):
                with self._writing:
                    self._work_out()
            self._write_waiting()

    def _wait(self, seconds: float) -> bool:
        """Wait; return whether it is time to write, and not only to look at copies."""
        with self._changed:
            enough = self._changed.wait_for(lambda: self._over or self._copied >= ENOUGH_COPIED, timeout=seconds)
            write, self._wanted = self._over or not enough, False
            return write

    @property
    def _over(self) -> bool:
        return self._wanted or self._closing

    def _work_out(self) -> int:
        """Run the metrics that records have brought copies for; return how many records are complete."""
        with self._changed:
            records = list(self._records)
        waiting = [(record, later) for record in records for later in record.later]
        if waiting:
            self._use_as_many_threads_as_training()
            try:
                results, failures = work_out([later for _, later in waiting])
                self._failures += failures
            except Exception as failure:
                results = [[] for _ in waiting]
                self._failure = failure
            for (record, later), found in zip(waiting, results, strict=True):
                record.later, record.results = (
                    [each for each in record.later if each is not later],
                    record.results + found,
                )
        with self._changed:
            self._count()
        return len(records)

    def _use_as_many_threads_as_training(self) -> None:
        # A thread keeps the number that it began with, whatever the training thread sets for itself later.
        if threading.current_thread() is self._thread and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def _count(self) -> None:
        """Count what is waiting anew: an interrupt in :meth:`flush` may have come between."""
        self._copied = sum(record.copied for record in self._records)
        self._bytes = sum(record.nbytes for record in self._records)

    def _write_waiting(self) -> None:
        with self._writing:  # one block at a time, so that rows keep their order
            complete = self._work_out()
            with self._changed:
                records, rows = list(self._records)[:complete], list(self._rows)
                for _ in records:
                    self._records.popleft()
                for _ in rows:
                    self._rows.popleft()
            self._write()  # what was refused first: it makes room
            try:
                self._take(records, rows)
            except Exception as failure:
                self._failure = failure
            self._write()
            self._spill(most=MAX_REFUSED)
            with self._changed:
                self._count()
                self._changed.notify_all()

    def _take(self, records: list[Record], rows: list[dict[str, Any]]) -> None:
        """Turn records into batches, behind those that were refused before."""
        self._refused += self._tables.batches(records) if records else []
        if rows:
            self._refused.append(("steps", steps_batch(rows)))

    def _spill(self, *, most: int) -> None:
        """Spill the rows that the store refused, if they take more than ``most`` bytes; lose the last ones if need be.

        Without a spool that takes them, the oldest stay in memory, in order, as far as they fit.
        """
        if sum(batch.nbytes for _, batch in self._refused) <= most:
            return
        try:
            while self._refused:
                self._sink.spill(*self._refused[0])
                self._refused.popleft()
        except OSError as failure:
            self._reason += f"; the spool: {type(failure).__name__}: {failure}"
        while sum(batch.nbytes for _, batch in self._refused) > most:
            self._lost.add(self._refused.pop()[1], self._reason)

    def _write(self) -> None:
        """Hand over batch by batch; the training thread reports a refusal at its next step."""
        while self._refused:
            try:
                self._sink.write(*self._refused[0])
            except Exception as failure:
                self._failure = failure
                self._reason = f"{type(failure).__name__}: {failure}"
                if isinstance(failure, OSError):
                    return  # it may pass: all is kept, in order
                self._lost.add(self._refused[0][1], self._reason)
            self._refused.popleft()
