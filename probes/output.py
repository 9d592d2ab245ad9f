"""Where records go: the recorder and its writer thread on the rank that writes, nowhere on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from probes.gaps import Gaps
from probes.records import Record, Tables
from probes.store import Recorder
from probes.writer import Writer


class Output:
    """The open store of one run.

    Args:
        open_recorder: Makes the recorder, given ``config``, ``resume_step`` or ``overwrite``; None on ranks that do not
            write.
        tables: Turns records into record batches.
        gaps: What could not be recorded; kept in the run's row.
        first: What ``open_recorder`` is given the first time.
    """

    def __init__(
        self,
        open_recorder: Callable[..., Recorder] | None,
        tables: Tables,
        gaps: Gaps,
        **first: Any,
    ) -> None:
        self._open_recorder = open_recorder
        self._tables = tables
        self._gaps = gaps
        self._recorder: Recorder | None = None
        self._writer: Writer | None = None
        self._open(first)

    @property
    def room(self) -> int:
        """Bytes of copies that a record may bring with it."""
        return 0 if self._writer is None else self._writer.room

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
        for metric, why, when in self._writer.take_failures():
            self._gaps.fail(metric, why, when)
        if (failure := self._writer.take_failure()) is not None:
            if isinstance(failure, OSError):
                self._gaps.delay(failure)
            else:
                self._gaps.fail("a block of records", failure, step)

    def flush(self) -> None:
        """Bring everything put so far into finished parts of the store."""
        if self._writer is not None and self._recorder is not None:
            self._writer.flush()
            self._describe()
            self._recorder.flush()

    def rewind(self, step: int) -> None:
        """Supersede the rows from a step on and go on writing."""
        self.close("interrupted")
        self._open({"resume_step": step})

    def close(self, status: str) -> None:
        """Hand over what is waiting and close the run with a status; closing again does nothing."""
        if self._writer is None or self._recorder is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
            for metric, why, when in writer.take_failures():
                self._gaps.fail(metric, why, when, raises=status == "finished")
            failure, lost = writer.take_failure(), writer.lost
            if lost is not None:
                self._gaps.warn(what="rows that the store refused to the end are lost", **asdict(lost))
            elif failure is not None and not isinstance(failure, OSError):
                self._gaps.fail("the last block of records", failure, -1)
            self._describe()
        finally:
            self._recorder.close(status)

    def _open(self, how: Mapping[str, Any]) -> None:
        if self._open_recorder is not None:
            self._recorder = self._open_recorder(**how)
            self._writer = Writer(self._recorder, self._tables)

    def _describe(self) -> None:
        if self._gaps.changed and self._recorder is not None:
            self._recorder.describe(gaps=self._gaps.entries())
