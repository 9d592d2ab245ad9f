"""The open run: its recorder and writer on the rank that writes, and nothing on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from probes.background.budget import Budget
from probes.gaps import Gaps
from probes.recording.arrow_tables import Tables
from probes.recording.record import Record
from probes.recording.writer import Writer
from probes.storage.recorder import Recorder


class OpenRun:
    """The open run of a store.

    Args:
        open_recorder: Makes the recorder, given ``config``, ``resume_step`` or ``overwrite``; None on ranks that do not
            write.
        tables: Turns records into record batches.
        gaps: The values that could not be recorded; kept in the run's row.
        budget: Pays for metrics that are computed in the background.
        first: Arguments of the first call of ``open_recorder``.
    """

    def __init__(
        self,
        open_recorder: Callable[..., Recorder] | None,
        tables: Tables,
        gaps: Gaps,
        budget: Budget,
        **first: Any,
    ) -> None:
        self._open_recorder = open_recorder
        self._tables = tables
        self._gaps = gaps
        self._budget = budget
        self._recorder: Recorder | None = None
        self._writer: Writer | None = None
        self._open(first)

    def put(self, record: Record) -> None:
        """Take a record."""
        if self._writer is not None:
            self._writer.put(record)

    def put_row(self, row: Mapping[str, Any]) -> None:
        """Take a row of table ``steps``."""
        if self._writer is not None:
            self._writer.put_row(dict(row))

    def report(self, step: int) -> None:
        """Tell of failures in the writer's thread."""
        if self._writer is None:
            return
        for metric, why, when, place in self._writer.take_failures():
            self._gaps.fail(metric, why, when, **place)
        if (failure := self._writer.take_failure()) is not None:
            if isinstance(failure, OSError):
                self._gaps.delay(failure)
            else:
                self._gaps.fail("a block of records", failure, step)

    def flush(self) -> None:
        """Bring everything put so far into finished parts of the store; what it refuses is kept and warned of."""
        if self._writer is not None and self._recorder is not None:
            self._writer.flush()
            try:
                self._describe()
                self._recorder.flush()
            except OSError as failure:
                self._gaps.delay(failure)

    def rewind(self, step: int) -> None:
        """Supersede the rows from a step on and go on writing."""
        self.close("interrupted")
        self._open({"resume_step": step})

    def close(self, status: str) -> None:
        """Hand over what is waiting and close the run with a status; closing again does nothing.

        Rows that the store does not take are kept elsewhere, and a warning says where; ``strict`` raises.
        """
        if self._writer is None or self._recorder is None:
            return
        writer, self._writer = self._writer, None
        raises = status == "finished"
        writer.close()
        try:
            self._tell(writer, raises=raises)
        finally:
            with suppress(OSError):  # the recorder has it all the same, and says so when it closes
                self._describe()
            self._close_recorder(self._recorder, status, raises=raises)

    def _tell(self, writer: Writer, *, raises: bool) -> None:
        for metric, why, when, place in writer.take_failures():
            self._gaps.fail(metric, why, when, raises=raises, **place)
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

    def _open(self, how: Mapping[str, Any]) -> None:
        if self._open_recorder is not None:
            self._recorder = self._open_recorder(**how)
            self._writer = Writer(self._recorder, self._tables, self._budget)

    def _describe(self) -> None:
        if self._gaps.changed and self._recorder is not None:
            self._recorder.describe(gaps=self._gaps.entries())
