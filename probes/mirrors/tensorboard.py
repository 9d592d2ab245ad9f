"""TensorBoard: a folder of event files, or the ``SummaryWriter`` that is open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from probes.mirrors.table_rows import Histogram, StepValues, histogram_of, scalars_of
from probes.schema import HISTOGRAMS, STEP


def add_row(writer: SummaryWriter, table: str, row: Mapping[str, Any]) -> None:
    """Write the scalars, or the histogram, of one row of a table."""
    if table == HISTOGRAMS:
        named = histogram_of(row)
        if named is not None:
            _add_histogram(writer, *named, step=row[STEP])
        return
    for name, value in scalars_of(table, row):
        writer.add_scalar(name, value, row[STEP])


class TensorBoardScreen:
    """Writes steps to event files.

    Args:
        target: A writer of the user, which stays open, or the folder of a new writer. A run that continues in that
            folder supersedes the events from its step on.
    """

    def __init__(self, target: SummaryWriter | Path) -> None:
        self._folder = target if isinstance(target, Path) else None
        self._writer = None if isinstance(target, Path) else target

    def show(self, values: StepValues, *, newer: int) -> bool:  # noqa: ARG002
        """Write a step."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=values.step)
        for name, value in values.scalars.items():
            self._writer.add_scalar(name, value, values.step)
        for name, histogram in values.histograms.items():
            _add_histogram(self._writer, name, histogram, step=values.step)
        return True

    def close(self, rest: list[StepValues]) -> None:
        """Write the remaining steps, and close a writer that this screen has made."""
        for values in rest:
            self.show(values, newer=0)
        if self._writer is not None:
            self._writer.flush()
        if self._writer is not None and self._folder is not None:
            self._writer.close()


def _add_histogram(writer: SummaryWriter, name: str, histogram: Histogram, *, step: int) -> None:
    counts, edges = histogram
    centres = (edges[1:] + edges[:-1]) / 2
    writer.add_histogram_raw(
        name,
        min=edges[0],
        max=edges[-1],
        num=counts.sum(),
        sum=float(counts @ centres),
        sum_squares=float(counts @ centres**2),
        bucket_limits=edges[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
    )
