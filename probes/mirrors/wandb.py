"""Weights & Biases: the run that is open, ``wandb.run``."""

from __future__ import annotations

import time
from typing import Any

import wandb

from probes.mirrors.table_rows import StepValues

PREFIX = "meandrift"
STEP_NAME = f"{PREFIX}/step"
PATIENCE = 5.0  # seconds without a row from the user, after which the mirror commits its own rows
_MOST_BINS = 512  # the most that wandb takes


class WandbScreen:
    """Shows steps in the open run of wandb, along a separate axis, ``meandrift/step``.

    The mirror must not change the user's numbering of rows, because wandb drops a row whose ``step=`` is below the
    number of committed rows. If the user logs, a step of the mirror therefore goes into the user's next row. If not,
    the mirror commits its own rows. It holds the newest row back, so that there are never more rows than steps.

    Raises:
        ValueError: No run is open.
    """

    def __init__(self) -> None:
        if wandb.run is None:
            raise ValueError("mirror='wandb': no run is open; call wandb.init() before the first record")
        self._run = wandb.run
        self._run.define_metric(STEP_NAME, hidden=True)
        self._run.define_metric(f"{PREFIX}/*", step_metric=STEP_NAME)
        self._rows = self._run.step  # number of rows after our last row
        self._attached = False
        self._moved = time.monotonic()

    def show(self, values: StepValues, *, newer: int) -> bool:
        """Show a step in the user's next row, or in a separate row if the user logs none."""
        if self._run.step != self._rows:  # the user has logged since
            self._log(values, commit=False)
        elif newer and time.monotonic() - self._moved > PATIENCE:
            self._commit(values)
        else:
            return False
        return True

    def close(self, rest: list[StepValues]) -> None:
        """Commit all remaining steps.

        The run stays open.
        """
        for values in rest:
            self._commit(values)
        if self._attached:
            self._run.log({}, commit=True)

    def _commit(self, values: StepValues) -> None:
        if self._attached:  # commit the previous row first, because this step would overwrite it
            self._run.log({}, commit=True)
        self._log(values, commit=True)

    def _log(self, values: StepValues, *, commit: bool) -> None:
        shown: dict[str, Any] = {f"{PREFIX}/{name}": value for name, value in values.scalars.items()}
        for name, histogram in values.histograms.items():
            counts, edges = histogram.with_at_most(_MOST_BINS)
            shown[f"{PREFIX}/{name}"] = wandb.Histogram(np_histogram=(counts, edges))
        self._run.log({STEP_NAME: values.step, **shown}, commit=commit)
        self._rows, self._attached = self._run.step, not commit
        if not commit:
            self._moved = time.monotonic()
