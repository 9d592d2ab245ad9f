"""The records of one run: for each column a matrix of records by layers, layers in forward order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.summaries.layer_choice import NETWORKS_OF_A_GAN
from probes.schema import FEEDS, LAYER, LAYER_INDEX, LAYER_TYPE, SPLIT, STEP


@dataclass(frozen=True)
class Records:
    """Some columns at the records at which each of them was measured.

    Attributes:
        steps: The step of each record, ascending, ``(records,)``.
        columns: The values of each column, ``(records, layers)``, float64; NaN where null or NaN.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]


class RunRecords:
    """The tables of one run, as matrices.

    Attributes:
        run: The run's id.
        layers: The layers' names in forward order.
        types: The class name of each layer's module; empty if the table has no such column.
        units: The rows of table ``units``; empty where there are none.
    """

    def __init__(self, run: str, layers: pd.DataFrame, steps: pd.DataFrame, units: pd.DataFrame | None = None) -> None:
        """Arrange the rows of one run.

        Args:
            run: The run's id.
            layers: Its rows of table ``layers``, in any order.
            steps: Its rows of table ``steps`` in which the loss was measured, if there is a column ``loss``.
            units: Its rows of table ``units``, in any order.
        """
        self.run = run
        self.units = pd.DataFrame() if units is None else units
        self._rows, self._steps_table = layers, steps
        self.layers: tuple[str, ...] = ()
        self.types: tuple[str, ...] = ()
        self._steps = np.zeros(0, dtype=np.int64)
        self._matrices: dict[str, np.ndarray | None] = {}
        self._measured: dict[str, np.ndarray] = {}
        self._logged: dict[tuple[str, str | None], tuple[np.ndarray, np.ndarray] | None] = {}
        if {LAYER, STEP} <= set(layers) and len(layers):
            self._arrange(layers)

    def _arrange(self, rows: pd.DataFrame) -> None:
        codes, names = pd.factorize(rows[LAYER])
        count = len(names)
        depth = np.arange(count)
        if LAYER_INDEX in rows:
            depth[codes[::-1]] = rows[LAYER_INDEX].to_numpy()[::-1]  # a layer's first row is assigned last
        order = np.argsort(depth, kind="stable")
        place = np.empty(count, dtype=np.int64)
        place[order] = np.arange(count)
        self._columns_of = place[codes]
        self._steps, self._records_of = np.unique(rows[STEP].to_numpy(), return_inverse=True)
        self.layers = tuple(str(names[i]) for i in order)
        kinds = np.full(count, "", dtype=object)
        if LAYER_TYPE in rows:
            first = np.zeros(count, dtype=np.int64)
            first[codes[::-1]] = np.arange(len(rows))[::-1]
            kinds = rows[LAYER_TYPE].iloc[first].astype(str).to_numpy()
        self.types = tuple(str(kinds[i]) for i in order)

    def whole(self, column: str) -> np.ndarray | None:
        """Return a column at every record of the run, ``(records, layers)``; None where the table has none."""
        if column not in self._matrices:
            self._matrices[column] = self._matrix(column)
        return self._matrices[column]

    def at(self, column: str, steps: np.ndarray) -> np.ndarray | None:
        """Return a column at the records of some steps, ``(steps, layers)``; None where the table has none.

        Args:
            column: A column of table ``layers``.
            steps: Steps of records of the run, ascending.
        """
        matrix = self.whole(column)
        return None if matrix is None else matrix[np.isin(self.steps, steps)]

    def _matrix(self, column: str) -> np.ndarray | None:
        if not self.layers or column not in self._rows:
            return None
        matrix = np.full((len(self._steps), len(self.layers)), np.nan)
        matrix[self._records_of, self._columns_of] = self._rows[column].to_numpy("float64", na_value=np.nan)
        return matrix

    @property
    def steps(self) -> np.ndarray:
        """The steps of all records, ascending."""
        return self._steps

    def take(self, *columns: str) -> Records | None:
        """Return the records at which each of the columns was measured in some layer; None where there are none."""
        matrices = {name: self.whole(name) for name in columns}
        present = {name: matrix for name, matrix in matrices.items() if matrix is not None}
        if len(present) < len(matrices):
            return None
        due = np.logical_and.reduce([self._due(name, matrix) for name, matrix in present.items()])
        if not due.any():
            return None
        if due.all():  # most columns are measured at every record: nothing is copied
            return Records(self._steps, present)
        return Records(self._steps[due], {name: matrix[due] for name, matrix in present.items()})

    def _due(self, column: str, matrix: np.ndarray) -> np.ndarray:
        if column not in self._measured:
            self._measured[column] = ~np.isnan(matrix).all(axis=1)
        return self._measured[column]

    def logged(self, column: str, *, split: str | None = "train") -> tuple[np.ndarray, np.ndarray] | None:
        """Return steps and values of a number that the loop logged, in step order; None where it logged none.

        Args:
            column: A column of table ``steps``.
            split: The split, or None for all.
        """
        key = column, split
        if key not in self._logged:
            self._logged[key] = self._sorted_by_step(column, split)
        return self._logged[key]

    def _sorted_by_step(self, column: str, split: str | None) -> tuple[np.ndarray, np.ndarray] | None:
        table = self._steps_table
        if not {STEP, column} <= set(table):
            return None
        rows = table[table[SPLIT] == split] if split is not None and SPLIT in table else table
        rows = rows.sort_values(STEP, kind="stable")
        return (rows[STEP].to_numpy(), rows[column].to_numpy("float64")) if len(rows) else None

    def logged_at(self, column: str, steps: np.ndarray) -> np.ndarray:
        """Return the last value logged at or before each step; NaN where there is none."""
        found = self.logged(column)
        if found is None:
            return np.full(len(steps), np.nan)
        places = np.searchsorted(found[0], steps, side="right") - 1
        return np.where(places >= 0, found[1][places], np.nan)

    def networks(self) -> list[np.ndarray]:
        """Return the indices of the layers of each network: critic, generator and rest of a GAN, else all layers."""
        first = np.array([name.partition(".")[0] for name in self.layers])
        named = [np.flatnonzero(first == name) for name in NETWORKS_OF_A_GAN if name in first]
        rest = np.flatnonzero(~np.isin(first, NETWORKS_OF_A_GAN))
        return [*named, rest] if len(rest) else named

    def of_network_outputs(self) -> np.ndarray:
        """Return which layers are the last of their network, ``(layers,)``; none where a network has one layer."""
        last = np.zeros(len(self.layers), dtype=bool)
        last[[places[-1] for places in self.networks() if len(places) > 1]] = True
        return last

    def before_no_nonlinearity(self) -> np.ndarray:
        """Return which layers feed no nonlinearity in the graph of a pass, ``(layers,)``; none without a graph."""
        if (feeds := self.whole(FEEDS)) is None:
            return np.zeros(len(self.layers), dtype=bool)
        return np.fmax.reduce(feeds, axis=0) == 0

    def places(self, names: Sequence[str]) -> np.ndarray:
        """Return which layers have one of the names, ``(layers,)``."""
        return np.isin(np.array(self.layers), names)
