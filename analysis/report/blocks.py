"""The lines of all runs of a store, one block per column, as the page reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.reading.rows_by_run import rows_by_run
from analysis.reading.store import Store
from analysis.report.columns import ChartColumn
from analysis.report.lines import Lines, RunTable
from analysis.report.packing import as_deltas, deflated, rounded
from analysis.report.thinning import points_a_line
from analysis.summaries.nonlinearities.layers_before import guessed, recorded
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE, LAYERS, RUN, STEPS

_LEAST_POINTS = 12
_SLACK = 1.5  # times the budget, because NaN and the steps of findings are added
EXACT_POINTS = 400_000  # a page with more points holds rounded values


@dataclass(frozen=True)
class Wanted:
    """The lines that are read from a store.

    Attributes:
        runs: The runs, in the order of the page.
        columns: The columns.
        runs_of: By the key of a column, the runs whose lines are read; a column without an entry has the lines of all
            runs.
        kept_steps: By run, the steps whose points are never thinned out.
        budget: Approximate number of points in all.
        most: Largest number of points per line.
        bytes: Largest number of deflated bytes in all; a page holds four characters for three bytes.
    """

    runs: Sequence[str]
    columns: Sequence[ChartColumn]
    runs_of: Mapping[str, set[str]] = field(default_factory=dict)
    kept_steps: Mapping[str, Sequence[int]] = field(default_factory=dict)
    budget: int = 800_000
    most: int = 400
    bytes: int = 5_900_000


@dataclass(frozen=True)
class Blocks:
    """The lines of all runs.

    Attributes:
        names: By run and table, the layers in forward order or the splits.
        types: By run, the type of each layer.
        columns: The deflated lines of each column, by its key: counts (uint32), deltas of the steps (float64), values
            (float32). There is one line for each run and each name of its table, run by run.
        most: Approximate number of points per line.
        thinned: Whether a line has fewer points than were recorded.
        exact: Whether values are as they were recorded, not rounded.
    """

    names: dict[str, dict[str, list[str]]]
    types: dict[str, list[str]]
    columns: dict[str, bytes]
    most: int
    thinned: bool
    exact: bool


def blocks(store: Store, wanted: Wanted) -> Blocks:
    """Read the lines of a store, run by run, and return one block per column."""
    reading = _Reading(store, wanted)
    layers = len(reading.first_layers())
    of_all = sum(column.key not in wanted.runs_of for column in wanted.columns if column.table == LAYERS)
    most = points_a_line(max(layers, 1) * len(wanted.runs) * max(of_all, 1), budget=wanted.budget, most=wanted.most)
    read = _packed(reading, most)
    if read.points > _SLACK * wanted.budget:  # later runs have more layers than the first
        most = points_a_line(read.lines, budget=wanted.budget, most=wanted.most)
        read = _packed(reading, most) if most < read.blocks.most else read
    if read.bytes > wanted.bytes:  # noise, which does not compress
        read = _packed(reading, max(_LEAST_POINTS, int(0.97 * read.blocks.most * wanted.bytes / read.bytes)))
    return read.blocks


@dataclass(frozen=True)
class _Packed:
    blocks: Blocks
    lines: int
    points: int
    bytes: int


def _packed(reading: _Reading, most: int) -> _Packed:
    found = reading.all_lines(most)
    lines = [one for of_run in found.values() for one in of_run.values()]
    points = sum(len(one.steps) for one in lines)
    shorten = rounded if points > EXACT_POINTS else _as_recorded
    columns = {column.key: _block(reading, found, column, shorten) for column in reading.wanted.columns}
    exact = points <= EXACT_POINTS
    read = Blocks(reading.names, reading.types, columns, most, reading.thinned, exact)
    return _Packed(read, sum(len(one.counts) for one in lines), points, sum(map(len, columns.values())))


def _as_recorded(values: np.ndarray, _counts: np.ndarray) -> np.ndarray:
    return values.astype("float32")


class _Reading:
    """Reads the lines of runs one by one: a store may be larger than memory."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self.store, self.wanted = store, wanted
        self.names: dict[str, dict[str, list[str]]] = {}
        self.types: dict[str, list[str]] = {}
        self.thinned = False
        self._known = recorded(store, list(wanted.runs)) if store.runs_of(LAYERS) else {}
        self._guessed: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = {}

    def first_layers(self) -> list[str]:
        for _, rows in rows_by_run(self.store, LAYERS, columns=(), runs=self.wanted.runs[:1]):
            return RunTable(rows).names
        return []

    def all_lines(self, most: int) -> dict[str, dict[str, Lines]]:
        found: dict[str, dict[str, Lines]] = {run: {} for run in self.wanted.runs}
        self.names, self.types = {run: {} for run in found}, {}
        for table in (LAYERS, STEPS):
            columns = [column for column in self.wanted.columns if column.table == table]
            names = [column.name for column in columns]
            for run, rows in rows_by_run(self.store, table, columns=names, runs=self.wanted.runs):
                arranged = RunTable(rows, always=self.wanted.kept_steps.get(run, ()))
                self.names[run][table] = arranged.names
                self.thinned |= len(arranged.steps) > most
                if table == LAYERS:
                    self.types[run] = arranged.types
                before = self._before_nonlinearities(run, arranged) if table == LAYERS else None
                for column in columns:
                    if run in self._runs_of(column):
                        only = before if column.before_nonlinearity else None
                        found[run][column.key] = arranged.lines(column.name, most=most, only=only)
        return found

    def _before_nonlinearities(self, run: str, arranged: RunTable) -> set[str] | None:
        """Return the layers before a nonlinearity, guessed if the run has no such record; None if there are none."""
        if run not in self._known:
            network = tuple(arranged.names), tuple(arranged.types)  # most runs of a store share one network
            if network not in self._guessed:
                rows = pd.DataFrame({LAYER: arranged.names, LAYER_TYPE: arranged.types}).assign(**{RUN: run})
                rows[LAYER_INDEX] = range(len(rows))
                self._guessed[network] = set(rows.loc[guessed(rows), LAYER]) if len(rows) else set()
            self._known[run] = self._guessed[network]
        return self._known[run] or None

    def _runs_of(self, column: ChartColumn) -> Sequence[str] | set[str]:
        return self.wanted.runs_of.get(column.key, self.wanted.runs)


def _block(
    reading: _Reading,
    found: Mapping[str, Mapping[str, Lines]],
    column: ChartColumn,
    shorten: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> bytes:
    runs = reading.wanted.runs
    lines = [found[run].get(column.key) or _nothing(reading.names[run][column.table]) for run in runs]
    counts = np.concatenate([one.counts for one in lines]) if lines else np.zeros(0, np.int64)
    steps = np.concatenate([one.steps for one in lines]) if lines else np.zeros(0)
    values = np.concatenate([one.values for one in lines]) if lines else np.zeros(0)
    return deflated(counts.astype("uint32"), as_deltas(steps, counts), shorten(values, counts))


def _nothing(names: Sequence[str]) -> Lines:
    return Lines(np.zeros(len(names), np.int64), np.zeros(0, np.int64), np.zeros(0))
