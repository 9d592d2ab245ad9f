"""The opening of a probe's run: its name, and how an existing run of that name is treated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from probes import schema
from probes.recording.opening.open_probes import OPEN_PROBES
from probes.recording.opening.run_names import open_unnamed
from probes.storage.recorder import Recorder
from probes.storage.run_start import HowToStart
from probes.storage.spool import spool_folder
from probes.storage.tags import checked_tags


@dataclass(frozen=True)
class Opening:
    """The store, the run, and how the run starts, as the user asked for it.

    Attributes:
        store: Folder or URL of the store.
        run: The run's id; None takes a new name.
        how: What happens if the run exists, or does not exist.
        config: The run's configuration.
        tags: Words by which runs are chosen.
        max_bytes: Upper limit of the run's size.

    Raises:
        ValueError: The id is not allowed, the step is no valid step, or a run without a name is to be continued or
            deleted.
    """

    store: str | os.PathLike[str]
    run: str | None
    how: HowToStart
    config: Any = None
    tags: Sequence[str] | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.run is not None:
            schema.check_run_id(self.run)
        elif self.how.resumes or self.how.overwrite:
            raise ValueError("resume, resume_step and overwrite need the name of the run: give run=...")
        if self.tags is not None:
            checked_tags(self.tags)
        checked_step(self.how.resume_step)

    def take_over(self) -> None:
        """Close the probe of this process that has the run, if the run is to be continued or deleted.

        The runs of probes that were freed with their models and never closed are closed too.
        """
        OPEN_PROBES.close_forgotten()
        if self.run is not None and (self.how.resumes or self.how.overwrite):
            OPEN_PROBES.close_at(self.place(self.run))

    def open(self, model: nn.Module, **described: Any) -> Recorder:
        """Return the recorder of the run.

        Args:
            model: What is observed.
            described: Further fields of the run's row.

        Raises:
            ValueError: See :class:`probes.storage.run_start.HowToStart`; or another process writes the run.
            OSError: The store cannot be written.
        """
        if self.run is None:
            return open_unnamed(self.store, type(model).__name__, lambda name: self._recorder(name, model, described))
        return self._recorder(self.run, model, described)

    def place(self, run: str) -> Path:
        """Return a path that identifies the run.

        It is the same for every name or link by which the store is opened.
        """
        base = schema.local_folder(self.store) or spool_folder(os.fspath(self.store))
        return base.resolve() / schema.WRITERS / run

    def _recorder(self, run: str, model: nn.Module, described: dict[str, Any]) -> Recorder:
        device = next((str(parameter.device) for parameter in model.parameters()), "cpu")
        asked = {"config": self.config, "tags": self.tags, "max_bytes": self.max_bytes}
        return Recorder(self.store, run, device=device, **asked, **described, **asdict(self.how))


def checked_step(step: int | None) -> int:
    """Return a number of finished optimizer steps; None is 0.

    Raises:
        ValueError: The step is no whole number, or negative.
    """
    if step is None:
        return 0
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step {step!r}: expected the number of optimizer steps finished, 0 or more.")
    return step
