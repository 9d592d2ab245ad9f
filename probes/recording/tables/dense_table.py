"""Rows of a table that has one row for each step and layer (or parameter), and a column for each number of a metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import number_array
from probes.measuring.result import Result
from probes.metrics import METRICS
from probes.metrics.metric import Metric
from probes.recording.record import Record
from probes.schema import Column, arrow_schema, unrecorded

Keys = Callable[[Sequence[Record], np.ndarray, np.ndarray], list[pa.Array]]


class DenseTable:
    """Turns the results of one table's metrics into record batches.

    A batch has every column of the package's metrics, and then the user's own columns. A column is null if its metric
    was not chosen. A reader that takes the columns of a table from its first file therefore misses none.

    Args:
        table: The table.
        metrics: All metrics. Metrics of other tables are ignored.
        count: Number of layers, or of parameters.
        keys: Returns the key columns, from the records, and from the record and the layer or parameter of each row.
    """

    def __init__(self, table: str, metrics: Sequence[Metric], count: int, keys: Keys) -> None:
        self._table, self._count, self._keys = table, count, keys
        self._columns = _columns_of(table, metrics)
        self._places = {column.name: place for place, column in enumerate(self._columns)}
        every = {column.name: column for column in (*_columns_of(table, METRICS.values()), *self._columns)}
        keys_first = arrow_schema(table, every.values())
        fields = [f if f.name not in every or f.name in self._places else unrecorded(f) for f in keys_first]
        self._schema = pa.schema(fields, metadata=keys_first.metadata)

    def batch(self, records: Sequence[Record]) -> pa.RecordBatch | None:
        """Return the rows of some records that have values; None if no metric fills the table."""
        if not self._columns:
            return None
        shape = (len(self._columns), len(records), self._count)
        values, missing = np.zeros(shape), np.ones(shape, dtype=bool)
        for metric, indices, where, found in _alike(self._table, records):
            places = np.ix_([self._places[column.name] for column in metric.columns], where, indices)
            values[places] = found
            missing[places] = False
        rows = np.flatnonzero(~missing.all(axis=0))
        keys = self._keys(records, rows // self._count, rows % self._count)
        flat_values, flat_missing = values.reshape(shape[0], -1)[:, rows], missing.reshape(shape[0], -1)[:, rows]
        measured = zip(self._columns, flat_values, flat_missing, strict=True)
        arrays = {column.name: _array(column, v, m) for column, v, m in measured}
        fields = list(self._schema)[len(keys) :]
        written = [arrays[f.name] if f.name in arrays else pa.nulls(len(rows), f.type) for f in fields]
        return pa.RecordBatch.from_arrays([*keys, *written], schema=self._schema)


def _columns_of(table: str, metrics: Iterable[Metric]) -> list[Column]:
    """Return the columns that metrics fill in a table.

    Two metrics may fill the same column.
    """
    columns = (column for metric in metrics if metric.table == table for column in metric.columns)
    return list({column.name: column for column in columns}.values())


def finished(result: Result) -> np.ndarray:
    """Return the values of a result, ``(rows, layers)``, after the part that its metric computes on the host."""
    return _finished(result.metric, result.values.cpu().numpy(), finished=result.finished)


def _finished(metric: Metric, values: np.ndarray, *, finished: bool) -> np.ndarray:
    return values if finished or metric.finish is None else metric.finish(values)


def _alike(table: str, records: Sequence[Record]) -> Iterator[tuple[Metric, tuple[int, ...], list[int], np.ndarray]]:
    """Yield metric, layer indices, record rows and ``(columns, records, layers)`` of results for the same layers."""
    groups: dict[tuple[str, bool, tuple[int, ...], int], list[tuple[int, Result]]] = {}
    for row, record in enumerate(records):
        for result in record.results:
            if result.metric.table == table:
                key = (result.metric.name, result.finished, tuple(result.indices), len(result.values))
                groups.setdefault(key, []).append((row, result))
    for (_, done, indices, _), members in groups.items():
        metric = members[0][1].metric
        # Stack the results in the order of their memory, then transpose: (rows, records, layers).
        values = np.moveaxis(np.stack([result.values.numpy().T for _, result in members]), -1, 0)
        yield metric, indices, [row for row, _ in members], _finished(metric, values, finished=done)


def _array(column: Column, values: np.ndarray, missing: np.ndarray) -> pa.Array:
    if pa.types.is_integer(column.type):
        missing = missing | np.isnan(values)  # a count on which the ranks do not agree
        return number_array(np.where(missing, 0, values), column.type, missing=missing)
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinity: divergence stays visible
        return number_array(values, pa.float32(), missing=missing)
