"""Observers: the user's functions that get the rows of each record, in a separate thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from probes.schema import STEP

Observer = Callable[[Mapping[str, pa.Table]], object]
"""Takes new rows by table, as in the store but without ``run``.

``.to_pandas()`` of each table is a DataFrame.
"""

MOST_BYTES = 32 << 20
LAST_WAIT = 10.0
_Batches = Sequence[tuple[str, pa.RecordBatch]]


class Observers:
    """Passes each block of rows to the observers, about a second after its record.

    Training never waits for them.

    An observer that raises is reported as a failure, and is called again with the next rows. An observer that is too
    slow for the records loses the oldest rows, which is reported as a failure too. If an observer has a method
    ``begin``, it is called with the id of the run at the beginning. If it has a method ``close``, this method is called
    at the end.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)
        self._waiting: deque[_Batches] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._failures: list[tuple[str, Exception, int]] = []
        self._thread: threading.Thread | None = None

    def add(self, observer: Observer) -> None:
        """Pass all further rows to one more observer."""
        self._observers.append(observer)

    def begin(self, run: str) -> None:
        """Tell the observers the id of the run, before the first rows."""
        for observer in self._observers:
            getattr(observer, "begin", lambda _: None)(run)

    def put(self, batches: _Batches) -> None:
        """Take rows.

        If 32 MiB wait already, the oldest are dropped.
        """
        if not self._observers or not batches:
            return
        with self._changed:
            self._waiting.append(batches)
            self._bytes += _size(batches)
            while self._bytes > MOST_BYTES and len(self._waiting) > 1:
                dropped = self._waiting.popleft()
                self._bytes -= _size(dropped)
                why = RuntimeError("it is slower than the records come: some rows were not shown to it")
                self._failures.append(("observers", why, _last_step(dropped)))
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="probe-observers", daemon=True)
            self._thread.start()

    def take_failures(self) -> list[tuple[str, Exception, int]]:
        """Return the failures since the last call: the observer, the exception, and the last step that it got."""
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Close the observers when they have seen all rows, or after ten seconds, and return.

        Closing again does nothing.
        """
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(LAST_WAIT)
            if self._thread.is_alive():
                why = RuntimeError(f"it has not returned {LAST_WAIT:.0f} s after the end of the run")
                self._failures.append(("observers", why, -1))
        for observer in self._observers:
            try:
                getattr(observer, "close", lambda: None)()
            except Exception as failure:
                self._failures.append((_name(observer), failure, -1))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batches = self._waiting.popleft()
                self._bytes -= _size(batches)
            tables = _tables(batches)
            for observer in list(self._observers):
                try:
                    observer(tables)
                except Exception as failure:
                    self._failures.append((_name(observer), failure, _last_step(batches)))


def _tables(batches: _Batches) -> dict[str, pa.Table]:
    by_table: dict[str, list[pa.RecordBatch]] = {}
    for table, batch in batches:
        by_table.setdefault(table, []).append(batch)
    return {table: pa.Table.from_batches(own) for table, own in by_table.items()}


def _size(batches: _Batches) -> int:
    return sum(batch.nbytes for _, batch in batches)


def _last_step(batches: _Batches) -> int:
    steps = [batch.column(STEP)[-1].as_py() for _, batch in batches if batch.num_rows]
    return max(steps, default=-1)


def _name(observer: Observer) -> str:
    return f"observer {getattr(observer, '__qualname__', repr(observer))}"
