"""The start of a recorder: a run begins, is continued, or is written anew."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from probes import schema
from probes.storage.files import StoreFiles
from probes.storage.recovery import recover_dead, recover_run
from probes.storage.removal import erase
from probes.storage.rewind import last_step, next_step, rewind
from probes.storage.run_row import read_run_row

log = logging.getLogger("meandrift")

AUTO = "auto"


class RunExistsError(ValueError):
    """The store has a run of this id, and no argument says to continue it or to write it anew."""


@dataclass(frozen=True)
class HowToStart:
    """The treatment of a run, whether the store has it or not.

    =====================  ======================================  =============================
    given                  the store has the run                   the store has no such run
    =====================  ======================================  =============================
    nothing                error                                   it begins at step 0
    ``resume_step=n``      goes on at step n                       begins if n = 0; else an error
    ``resume="auto"``      goes on after its last recorded step    begins at step 0
    both                   goes on at step n                       begins at step n
    ``overwrite=True``     is deleted, and begins at step 0        begins at step 0
    =====================  ======================================  =============================

    Going on at step n deletes the rows of step n and of later steps. "After the last recorded step" is right if the
    training also goes on from there. A job that died before its first checkpoint begins anew, and says so by
    ``resume_step=0``.

    Raises:
        ValueError: ``resume`` is another word, or ``overwrite`` is combined with another argument.
    """

    resume: str | None = None
    resume_step: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.resume not in (None, AUTO):
            raise ValueError(
                f"resume={self.resume!r}: expected 'auto', which begins a run or goes on with it; to go on at a step "
                "that you know, give resume_step"
            )
        if self.overwrite and self.resumes:
            raise ValueError(
                "overwrite deletes the run that "
                f"{'resume' if self.resume else 'resume_step'} goes on with: give one of the two"
            )

    @property
    def resumes(self) -> bool:
        """Whether an existing run is continued."""
        return self.resume is not None or self.resume_step is not None


@dataclass(frozen=True)
class RunStart:
    """The state of a run when its recorder starts.

    Attributes:
        row: The run's row in table ``runs`` so far.
        step: Optimizer steps finished by now, as far as the store knows: the next step to record.
        last_step: The largest step recorded; -1 if there is none.
    """

    row: dict[str, Any]
    step: int = 0
    last_step: int = -1


def start_run(files: StoreFiles, run: str, how: HowToStart) -> RunStart:
    """Bring a run to the state from which it starts.

    The caller owns the run. Rows of dead writers are recovered first.

    Raises:
        RunExistsError: The run is there.
        ValueError: The run is to be continued and does not exist, it was recorded by a newer meandrift, or a new run's
            name cannot be a folder on Windows.
        OSError: The store cannot be read or written.
    """
    recover_dead(files)  # except this run, because its owner is this process
    if how.overwrite:
        erase(files, run)
        return _new()
    recovered = recover_run(files, run)
    if recovered.rows or recovered.damaged:
        log.warning("%s", recovered)
    if not files.has_run(run):
        if how.resume is None and how.resume_step:
            raise ValueError(
                f"run {run!r} is not in store {files.name}: it cannot go on at step {how.resume_step}. Check store and "
                "run; or begin it: leave out resume_step, or give resume='auto' beside it"
            )
        schema.check_portable(run)
        return _new(how.resume_step or 0)
    if not how.resumes:
        raise RunExistsError(
            f"run {run!r} exists in store {files.name}: choose another run id, go on with it (resume='auto' or "
            "resume_step=...), or delete it first (overwrite=True)"
        )
    return _going_on(files, run, how.resume_step)


def _new(step: int = 0) -> RunStart:
    return RunStart({"started": datetime.now(UTC), "gaps": "[]"}, step)


def _going_on(files: StoreFiles, run: str, step: int | None) -> RunStart:
    row = read_run_row(files, run)
    if (row.get("schema_version") or 0) > schema.SCHEMA_VERSION:
        raise ValueError(
            f"run {run!r} was recorded under schema version {row['schema_version']}, and this meandrift "
            f"writes version {schema.SCHEMA_VERSION}: update meandrift to go on with it"
        )
    if step is not None:
        rewind(files, run, step=step)
    recorded = last_step(files, run)
    return RunStart(row, next_step(files, run) if step is None else step, -1 if recorded is None else recorded)
