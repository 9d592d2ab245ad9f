"""The recorder: writes the rows of one run to a store, and loses none that it accepted."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from types import TracebackType
from typing import Any

import pyarrow as pa

from probes import schema
from probes.storage.compaction import compact_run
from probes.storage.durability import sync
from probes.storage.files import open_store
from probes.storage.log import TableLog, find_segments
from probes.storage.recovery import Recovered, move_to_part
from probes.storage.rewind import Held, missing, rewind
from probes.storage.run_row import default_versions, described, gaps_of, spill_run_row, write_run_row
from probes.storage.run_start import HowToStart, start_run
from probes.storage.tags import checked_tags
from probes.storage.writer_lock import WriterLock

log = logging.getLogger("meandrift")

FLUSH_SECONDS = 10.0
FLUSH_SHARE = 1 / 30  # of the run's age: a plot of a live run lacks its last 3 % at most, and parts stay few
FLUSH_BYTES = 16 << 20  # a flush holds them in memory
LOG_SHARE = 8  # the part of max_bytes that the log may take before it becomes a part: an eighth


class Recorder:
    """Writes one run's rows to a store.

    Rows survive SIGKILL once :meth:`write` has returned: they are in an append-only log, and later in a finished part.
    Readers see rows after a flush. The recorder flushes every 10 s, and in long runs every 3 % of the run's age.
    Several threads may record. The recorder is a context manager: leaving the block closes the run.

    Args:
        store: Folder or URL of the store.
        run: The run's id, see :func:`probes.schema.check_run_id`.
        config: The run's configuration, of any kind, kept as JSON: see :func:`probes.storage.config_json.config_json`.
        versions: Versions to keep; by default those of Python, pyarrow, meandrift and torch.
        device: Where the model is.
        resume: ``"auto"`` begins the run or goes on with it: see :class:`probes.storage.run_start.HowToStart`.
        resume_step: Go on with the run from this step; its rows with ``step >= resume_step`` are deleted first.
        overwrite: Delete an existing run of this id first.
        tags: Words that runs are chosen by; None keeps those of a run that goes on.
        bytes_per_1000_steps: What is expected to be written, for the run's row.
        max_bytes: The size that the caller keeps the run below by asking for :attr:`nbytes`. Rows then leave the log
            sooner.
        fsync: Wait for the disk at each write, so that a power cut loses nothing either.

    Attributes:
        run: The run's id.
        step: Optimizer steps that were finished when the recorder was made, as far as the store knows.
        earlier_gaps: Gaps of the steps before ``step``, if the recorder goes on with a run.

    Raises:
        ValueError: The run exists and is neither to go on nor to be deleted, or has another writer, or is to go on and
            does not exist.
        OSError: The store cannot be written.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        run: str,
        *,
        config: Any = None,
        versions: Mapping[str, Any] | None = None,
        device: str = "",
        resume: str | None = None,
        resume_step: int | None = None,
        overwrite: bool = False,
        tags: Iterable[str] | None = None,
        bytes_per_1000_steps: int | None = None,
        max_bytes: int | None = None,
        fsync: bool = False,
    ) -> None:
        self.run = schema.check_run_id(run)
        how = HowToStart(resume, resume_step, overwrite)
        self._files = open_store(store, fsync=fsync)
        self._fsync = fsync
        self._writing, self._flushing = threading.RLock(), threading.RLock()
        self._logs: dict[str, TableLog] = {}
        self._began = self._flushed = time.monotonic()
        self._owner = WriterLock(self._files.workspace(run))
        try:
            if fsync:
                for folder in (self._owner.workspace.parent, self._files.spool):
                    sync(folder)
            start = start_run(self._files, run, how)
            self._row, self.step, self._last_step = start.row, start.step, start.last_step
            self.earlier_gaps = [gap for gap in gaps_of(start.row) if gap.get("first_step", -1) < start.step]
            self.describe(
                status="running",
                gaps=self.earlier_gaps,
                versions=default_versions() if versions is None else versions,
                **({"device": device} if device else {}),
                **({"config": config} if config is not None else {}),
                **({"tags": checked_tags(tags)} if tags is not None else {}),
                bytes_per_1000_steps=bytes_per_1000_steps,
            )
            self._flush_bytes = min(FLUSH_BYTES, FLUSH_BYTES if max_bytes is None else max_bytes // LOG_SHARE)
            self._in_parts = self._part_bytes() if max_bytes is not None else None
            self._leaving = 0  # bytes of log segments on their way into parts
        except BaseException:
            self._owner.release()
            raise

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        """Record rows. When this returns, they survive SIGKILL.

        Args:
            table: ``layers``, ``histograms``, ``spectra`` or ``steps``.
            batch: The rows, without a ``run`` column. Columns may come and go between calls: absent is null.

        Raises:
            ValueError: The table is unknown, a key is missing, or a column is not what it was.
            OSError: The rows could not be written, to a full disk for instance, or the recorder is closed.
        """
        with self._writing:
            self._check_open()
            self._log(table).append(batch)
            self._note_step(batch)
        if self._flush_is_due():
            self._flush_or_wait()

    def spill(self, table: str, batch: pa.RecordBatch) -> None:
        """Record rows that :meth:`write` refused in the spool, where they survive SIGKILL until the store takes them.

        Raises:
            ValueError: As for :meth:`write`.
            OSError: The spool refuses them too. Nothing is kept.
        """
        with self._writing:
            self._check_open()
            self._log(table).spill(batch)
            self._note_step(batch)

    def describe(self, **fields: Any) -> None:
        """Set fields of the run's row in the `runs` table.

        Raises:
            ValueError: A field is no column of that table.
        """
        with self._flushing:
            self._check_open()
            self._row = described(self._row, fields)
            self._write_row()

    def flush(self) -> None:
        """Bring every row recorded so far into finished parts, where readers see it.

        Raises:
            OSError: A part could not be written. Its rows stay in the log and are not lost.
        """
        with self._flushing:
            with self._writing:
                self._check_open()
                self._flushed = time.monotonic()
                logged = self._logged_bytes()
                pending = {table: table_log.finish_segments() for table, table_log in self._logs.items()}
                self._leaving += logged
            for table, segments in pending.items():
                for segment in segments:
                    move_to_part(self._files, table, self.run, segment, Recovered(self.run))
                    with self._writing:
                        self._logs[table].forget(segment)
            self._write_row()
            in_parts = None if self._in_parts is None else self._part_bytes()
            self._leaving, self._in_parts = 0, in_parts

    @property
    def nbytes(self) -> int:
        """Bytes of the run's parts, if it has ``max_bytes``, plus half of its log: the rows take less in a part."""
        return (self._in_parts or 0) + (self._leaving + self._logged_bytes()) // 2

    def rewind(self, step: int, held: Sequence[Held] = ()) -> list[Held]:
        """Delete the rows of a step and of later ones; return those ``held`` in a checkpoint that the store then lacks.

        Raises:
            OSError: The store refused. Some of these rows may still be there; the same call deletes them.
        """
        with self._flushing:
            self.flush()
            rewind(self._files, self.run, step=step)
            self._last_step = min(self._last_step, step - 1)
            self._write_row()
            return missing(self._files, self.run, held)

    def close(self, status: str = "finished") -> None:
        """Flush, compact and give the run back. Closing again does nothing.

        Raises:
            OSError: The last rows could not be brought into a part. They stay in the log, or in the spool if the store
                is gone; the message says where. The next recorder on this store, or ``meandrift recover``, brings
                them in.
        """
        with self._flushing:
            if not self._owner.held:
                return
            try:
                self.flush()
                self._compact()
                self.describe(status=status)
            except OSError as error:
                raise OSError(self._kept(error, status)) from error
            finally:
                self._owner.release()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = "interrupted" if kind is KeyboardInterrupt else "failed"
        self.close("finished" if kind is None else failed)

    def _log(self, table: str) -> TableLog:
        if table not in self._logs:
            self._logs[table] = self._new_log(table)
        return self._logs[table]

    def _new_log(self, table: str) -> TableLog:
        workspace, spill = self._files.workspace(self.run), self._files.spilled(self.run)
        held = [last for _, last in filter(None, map(schema.part_range, self._files.parts(table, self.run)))]
        logged = [number for folder in (workspace, spill) for number in find_segments(folder, table)]
        return TableLog(
            workspace,
            table,
            first=max([0, *held, *logged]) + 1,
            spill=spill,
            folder=self._owner.folder,
            fsync=self._fsync,
        )

    def _kept(self, error: OSError, status: str) -> str:
        """Keep the run's row in the spool, and return the sentence that says where rows are when the store fails."""
        with suppress(OSError):
            spill_run_row(self._files, self.run, {**self._seen(), "status": status})
        folders = (self._owner.location(), self._files.spilled(self.run))
        places = [str(folder) for folder in folders if any(find_segments(folder, table) for table in self._logs)]
        kept = f"rows that are in no part yet are kept in {' and '.join(places)}" if places else "no row is lost"
        return (
            f"run {self.run!r} could not be closed in store {self._files.name}: {error}. {kept[0].upper()}{kept[1:]}: "
            f"`meandrift recover {self.run} --store {quote(self._files.name)}` brings them in when the store takes "
            "them again"
        )

    def _note_step(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._last_step = max(self._last_step, _or_none_yet(batch.column(schema.STEP)[-1].as_py()))

    def _flush_is_due(self) -> bool:
        now = time.monotonic()
        waited, age = now - self._flushed, now - self._began
        return waited >= max(FLUSH_SECONDS, FLUSH_SHARE * age) or self._logged_bytes() >= self._flush_bytes

    def _logged_bytes(self) -> int:
        return sum(table_log.nbytes for table_log in list(self._logs.values()))

    def _part_bytes(self) -> int:
        return sum(self._files.size(table, self.run) for table in schema.TABLES)

    def _flush_or_wait(self) -> None:
        """Flush; if the file system refuses, say so and go on: the rows are safe in the log."""
        try:
            self.flush()
        except OSError as error:
            log.warning("run %r: rows stay in the log, no part could be written: %s", self.run, error)

    def _compact(self) -> None:
        try:
            compact_run(self._files, self.run)
        except OSError as error:
            log.warning("run %r: parts stay as they are, all rows in them: %s", self.run, error)

    def _write_row(self) -> None:
        write_run_row(self._files, self.run, self._seen())

    def _seen(self) -> dict[str, Any]:
        """Return the run's row with the largest step recorded so far."""
        return {**self._row, "last_step": None if self._last_step < 0 else self._last_step}

    def _check_open(self) -> None:
        if not self._owner.held:
            raise OSError(f"recorder of run {self.run!r} is closed, or was made in another process: make a new one")


def _or_none_yet(step: int | None) -> int:
    return -1 if step is None else step
