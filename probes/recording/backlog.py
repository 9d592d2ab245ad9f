"""The backlog: rows on their way to the store, kept in order while the store refuses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from probes import schema


class Sink(Protocol):
    """The part of a recorder that a backlog needs."""

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Take rows of a table.

        Raises:
            OSError: The rows cannot be written now.
        """

    def spill(self, table: str, batch: pa.RecordBatch) -> None:
        """Keep rows that :meth:`write` refuses in another place.

        Raises:
            OSError: That place refuses the rows too.
        """


@dataclass
class Lost:
    """Rows that neither the store nor the spool took.

    Attributes:
        rows: The number of lost rows, over all tables.
        first_step: The first step that lacks rows.
        last_step: The last step that lacks rows.
        why: The store's message when it refused the last of these rows.
    """

    rows: int = 0
    first_step: int = 0
    last_step: int = 0
    why: str = ""

    def add(self, batch: pa.RecordBatch, why: str) -> None:
        """Count the rows of a lost batch."""
        steps = batch.column(schema.STEP)
        first, last = steps[0].as_py(), steps[-1].as_py()
        self.first_step = min(first, self.first_step) if self.rows else first
        self.last_step = max(last, self.last_step)
        self.rows += batch.num_rows
        self.why = why


class Backlog:
    """Batches that are still to be written, oldest first.

    Attributes:
        lost: The rows that are lost.
    """

    def __init__(self, sink: Sink) -> None:
        self.lost = Lost()
        self._sink = sink
        self._batches: deque[tuple[str, pa.RecordBatch]] = deque()
        self._failure: Exception | None = None
        self._reason = ""

    def add(self, batches: Iterable[tuple[str, pa.RecordBatch]]) -> None:
        """Append batches, each with the name of its table."""
        self._batches += batches

    def write(self) -> None:
        """Write batch by batch, until the store refuses one."""
        while self._batches:
            try:
                self._sink.write(*self._batches[0])
            except Exception as failure:
                self._failure = failure
                self._reason = f"{type(failure).__name__}: {failure}"
                if isinstance(failure, OSError):
                    return  # the refusal may be temporary: all batches are kept, in order
                self.lost.add(self._batches[0][1], self._reason)
            self._batches.popleft()

    def spill(self, *, most: int) -> None:
        """Spill all rows if they take more than ``most`` bytes.

        If the spool refuses the rows too, the oldest rows stay in memory as far as they fit, and the newest are lost.
        """
        if self._nbytes <= most:
            return
        try:
            while self._batches:
                self._sink.spill(*self._batches[0])
                self._batches.popleft()
        except OSError as failure:
            self._reason += f"; the spool: {type(failure).__name__}: {failure}"
        while self._nbytes > most:
            self.lost.add(self._batches.pop()[1], self._reason)

    def take_failure(self) -> Exception | None:
        """Return the last failure to write, once."""
        failure, self._failure = self._failure, None
        return failure

    @property
    def _nbytes(self) -> int:
        return sum(batch.nbytes for _, batch in self._batches)
