"""The open run: its recorder and writer on the rank that writes, and neither on the other ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from torch import nn

from probes.background.budget import Budget
from probes.gaps import Gaps
from probes.ranks import Ranks
from probes.recording.opening.opening import Opening
from probes.recording.record import Record
from probes.recording.size.thinning import Thinning
from probes.recording.tables.arrow_tables import Tables
from probes.recording.tables.observers import Observer, Observers
from probes.recording.writer import Writer
from probes.storage.recorder import Recorder

_SLOW = (
    "the store takes rows more slowly than they come, so some are left out. Record more rarely (every=) or write to a "
    "faster disk"
)


class SlowStoreError(OSError):
    """The store is too slow: the rows that wait for it fill the memory that they may take."""


class OpenRun:
    """The open run of a store.

    Args:
        opening: The run, its store, and how it starts.
        model: The observed model.
        tables: Turns records into record batches.
        gaps: The values that could not be recorded. They are kept in the run's row.
        budget: The budget of metrics that are computed in the background.
        ranks: The ranks that record together. The first rank writes.
        observers: The observers, which get the rows on the rank that writes.
        bytes_per_1000_steps: The expected number of bytes in 1,000 steps, for the run's row.

    Attributes:
        name: The run's id, on every rank.
        observers: The observers that get the rows.
        step: The step with which the run starts, on every rank.
        place: See :meth:`probes.recording.opening.opening.Opening.place`.
    """

    def __init__(
        self,
        opening: Opening,
        model: nn.Module,
        *,
        tables: Tables,
        gaps: Gaps,
        budget: Budget,
        ranks: Ranks,
        observers: Sequence[Observer] = (),
        bytes_per_1000_steps: int | None = None,
    ) -> None:
        self._tables = tables
        self._gaps = gaps
        self._budget = budget
        self._recorder: Recorder | None = None
        self._writer: Writer | None = None
        self._thinning = None if opening.max_bytes is None else Thinning(opening.max_bytes, gaps)
        opening.take_over()
        self.observers = Observers(observers if ranks.rank == 0 else ())
        size = {"bytes_per_1000_steps": bytes_per_1000_steps}
        self.name, self.step = ranks.share(lambda: self._open(opening.open(model, **size)))
        self.place = opening.place(self.name)
        self.observers.begin(self.name)

    def put(self, record: Record) -> None:
        """Take a record. If the store is too slow to take it, it is left out and kept as a gap."""
        if self._writer is None or self._recorder is None:
            return
        if self._thinning is not None and not self._thinning.keeps_record(record.step, self._nbytes(self._writer)):
            self._budget.give_back(sum(snapshot.nbytes for snapshot in record.snapshots))
        elif not self._writer.put(record):
            self._gaps.fail("records", SlowStoreError(_SLOW), record.step)

    def put_row(self, row: Mapping[str, Any]) -> None:
        """Take a row of table ``steps``. If the store is too slow to take it, it is left out and kept as a gap."""
        if self._writer is None or (self._thinning is not None and not self._thinning.keeps_row(row)):
            return
        if not self._writer.put_row(dict(row)):
            self._gaps.fail("rows of table steps", SlowStoreError(_SLOW), row["step"])

    def report(self, step: int) -> None:
        """Report failures in the writer's thread."""
        if self._writer is None:
            return
        for metric, why, when, place in self._writer.take_failures():
            self._gaps.fail(metric, why, when, **place)
        for observer, why, when in self.observers.take_failures():
            self._gaps.fail(observer, why, when)
        if (failure := self._writer.take_failure()) is not None:
            if isinstance(failure, OSError):
                self._gaps.delay(failure)
            else:
                self._gaps.fail("a block of records", failure, step)

    def flush(self) -> None:
        """Bring all rows so far into finished parts of the store.

        Rows that the store refuses are kept, with a warning.
        """
        if self._writer is not None and self._recorder is not None:
            self._writer.flush()
            try:
                self._describe()
                self._recorder.flush()
            except OSError as failure:
                self._gaps.delay(failure)

    def secure(self) -> None:
        """Return when all rows so far survive SIGKILL.

        Rows that the store refuses are kept and tried again.
        """
        if self._writer is not None:
            self._writer.flush()

    def rewind(self, step: int, held: Sequence[Mapping[str, Any]] = ()) -> Sequence[Mapping[str, Any]]:
        """Supersede the rows from a step on and go on writing.

        Returns:
            The rows of ``held``, of table ``steps``, that the store then lacks. The caller records them again.

        Raises:
            OSError: The store refused. Its rows are as they were.
        """
        if self._writer is None or self._recorder is None:
            return held
        self._writer.close()
        try:
            self._tell(self._writer, raises=True)
            return self._recorder.rewind(step, held)
        finally:
            self._writer = Writer(self._recorder, self._tables, self._budget, self.observers)

    def close(self, status: str) -> None:
        """Write the rows that wait and close the run with a status.

        A second call does nothing.

        Rows that the store does not take are kept elsewhere, and a warning says where; ``strict`` raises.
        """
        if self._writer is None or self._recorder is None:
            return
        writer, self._writer = self._writer, None
        raises = status == "finished"
        writer.close()
        self.observers.close()
        try:
            self._tell(writer, raises=raises)
        finally:
            with suppress(OSError):  # the recorder has the rows anyway, and reports the error when it closes
                self._describe()
            self._close_recorder(self._recorder, status, raises=raises)

    def _nbytes(self, writer: Writer) -> int:
        """Return the bytes of the run's parts, plus half of the bytes in the log or waiting for it."""
        assert self._recorder is not None
        return self._recorder.nbytes + writer.waiting // 2

    def _open(self, recorder: Recorder) -> tuple[str, int]:
        self._recorder = recorder
        self._writer = Writer(recorder, self._tables, self._budget, self.observers)
        return recorder.run, recorder.step

    def _tell(self, writer: Writer, *, raises: bool) -> None:
        for metric, why, when, place in writer.take_failures():
            self._gaps.fail(metric, why, when, raises=raises, **place)
        for observer, why, when in self.observers.take_failures():
            self._gaps.fail(observer, why, when, raises=raises)
        failure, lost = writer.take_failure(), writer.lost
        if lost is not None:
            self._gaps.warn(what="rows that neither the store nor the spool took are lost", **asdict(lost))
        elif failure is not None and not isinstance(failure, OSError):
            self._gaps.fail("the last block of records", failure, -1, raises=raises)

    def _close_recorder(self, recorder: Recorder, status: str, *, raises: bool) -> None:
        try:
            recorder.close(status)
        except OSError as failure:
            self._gaps.keep(failure, raises=raises)

    def _describe(self) -> None:
        if self._gaps.changed and self._recorder is not None:
            gaps = self._gaps.entries()
            told = {(gap["what"], gap["why"]) for gap in gaps}
            before = [gap for gap in self._recorder.earlier_gaps if (gap.get("what"), gap.get("why")) not in told]
            self._recorder.describe(gaps=[*before, *gaps])
