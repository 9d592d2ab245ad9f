"""Turns blocks of records into Arrow record batches of the store's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import list_array, number_array, word_array
from probes.measuring.result import Result
from probes.metrics.flat import batches
from probes.metrics.histogram import HALF, MANTISSA_BITS, OCTAVE, SLOTS, occupied_bins
from probes.metrics.metric import Metric
from probes.metrics.singular_values import PADDING
from probes.model.layer import Layer
from probes.recording.record import Record
from probes.schema import HISTOGRAM_COLUMNS, HISTOGRAMS, LAYERS, SPECTRA, SPECTRA_COLUMNS, Column, arrow_schema

COUNTS_AT_ONCE = 1 << 17  # turned into rows at a time, 1 MB: on the way they take many times that


class Tables:
    """Turns records into record batches of the store's tables."""

    def __init__(self, layers: Sequence[Layer], metrics: Sequence[Metric]) -> None:
        self._names = word_array([layer.name for layer in layers])
        self._kinds = word_array([layer.kind for layer in layers])
        self._count = len(layers)
        columns = [c for metric in metrics for c in metric.columns]
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._columns = columns
        self._metrics = {metric.name: place for place, metric in enumerate(metrics)}
        self._schema = arrow_schema(LAYERS, columns)

    def batches(self, records: Sequence[Record]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield table name and batch for each table the records have rows for."""
        for record in records:
            record.wait()
            record.results.sort(key=self._order)  # some were computed later than others
        parts = [(LAYERS, self._layers(records)), (SPECTRA, self._spectra(records))]
        yield from ((table, batch) for table, batch in parts if batch is not None and batch.num_rows)
        found = _of_table(HISTOGRAMS, records)
        for first, last in batches([result.values.numel() for _, result in found], COUNTS_AT_ONCE):
            yield HISTOGRAMS, self._histograms(records, found[first:last])

    def _order(self, result: Result) -> tuple[int, list[int]]:
        return self._metrics.get(result.metric.name, -1), result.indices[:1]

    def _layers(self, records: Sequence[Record]) -> pa.RecordBatch | None:
        if not self._columns:
            return None
        shape = (len(self._columns), len(records), self._count)
        values, missing = np.zeros(shape), np.ones(shape, dtype=bool)
        for metric, indices, where, found in _alike(records):
            first = self._places[metric.columns[0].name]
            places = np.ix_(range(first, first + len(metric.columns)), where, indices)
            values[places] = found
            missing[places] = False
        rows = np.flatnonzero(~missing.all(axis=0))  # a row that says nothing is not written
        keys = self._keys(records, rows // self._count, rows % self._count)
        flat_values, flat_missing = values.reshape(shape[0], -1)[:, rows], missing.reshape(shape[0], -1)[:, rows]
        arrays = [_array(column, v, m) for column, v, m in zip(self._columns, flat_values, flat_missing, strict=True)]
        return pa.RecordBatch.from_arrays([*keys, *arrays], schema=self._schema)

    def _histograms(self, records: Sequence[Record], found: list[tuple[int, Result]]) -> pa.RecordBatch:
        table = np.concatenate([result.values.numpy().T for _, result in found])  # (rows, SLOTS + 1)
        rows, layers, labels = _places(found)
        # Signed order, from the largest negative bin that any row has. NaN and infinities are in the last octaves.
        bins = occupied_bins(table.T)
        finite = np.concatenate([table[:, :bins][:, ::-1], table[:, HALF : HALF + bins]], axis=1)
        nonfinite = table[:, HALF - OCTAVE : HALF].sum(axis=1) + table[:, SLOTS - OCTAVE : SLOTS].sum(axis=1)
        filled = finite != 0
        some = filled.any(axis=1)
        first = np.where(some, filled.argmax(axis=1), 0)
        last = np.where(some, finite.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
        positions = np.arange(finite.shape[1])
        window = (positions >= first[:, None]) & (positions < last[:, None])
        offsets = np.concatenate([[0], np.cumsum(last - first)])
        columns = [
            number_array(np.full(len(rows), MANTISSA_BITS), pa.int8()),
            number_array(np.where(some, first - bins, 0), pa.int16()),
            list_array(offsets, finite[window], pa.int32()),
            number_array(finite.sum(axis=1) + nonfinite, pa.int64()),
            number_array(table[:, SLOTS], pa.int64()),
            number_array(nonfinite, pa.int64()),
        ]
        keys = [*self._keys(records, rows, layers), _words(labels)]
        return pa.RecordBatch.from_arrays([*keys, *columns], schema=arrow_schema(HISTOGRAMS, HISTOGRAM_COLUMNS))

    def _spectra(self, records: Sequence[Record]) -> pa.RecordBatch | None:
        found = _of_table(SPECTRA, records)
        if not found:
            return None
        rows, layers, labels = _places(found)
        lists = [values[values != PADDING] for _, result in found for values in finished(result).T]
        offsets = np.concatenate([[0], np.cumsum([len(values) for values in lists])])
        spectra = list_array(offsets, np.concatenate(lists), pa.float32())
        keys = [*self._keys(records, rows, layers), _words(labels)]
        return pa.RecordBatch.from_arrays([*keys, spectra], schema=arrow_schema(SPECTRA, SPECTRA_COLUMNS))

    def _keys(self, records: Sequence[Record], rows: np.ndarray, layers: np.ndarray) -> list[pa.Array]:
        steps = np.array([record.step for record in records], dtype=np.int64)
        epochs = np.array([-1 if record.epoch is None else record.epoch for record in records], dtype=np.int32)[rows]
        index = number_array(layers, pa.int32())
        return [
            number_array(steps[rows], pa.int64()),
            number_array(epochs, pa.int32(), missing=epochs < 0),
            pa.DictionaryArray.from_arrays(index, self._names),
            number_array(layers, pa.int16()),
            pa.DictionaryArray.from_arrays(index, self._kinds),
        ]


def finished(result: Result) -> np.ndarray:
    """Return the values of a result, ``(rows, layers)``, after the part that its metric computes on the host."""
    return _finished(result.metric, result.values.cpu().numpy(), finished=result.finished)


def _finished(metric: Metric, values: np.ndarray, *, finished: bool) -> np.ndarray:
    return values if finished or metric.finish is None else metric.finish(values)


def _alike(records: Sequence[Record]) -> Iterator[tuple[Metric, tuple[int, ...], list[int], np.ndarray]]:
    """Yield metric, layer indices, record rows and ``(columns, records, layers)`` of results for the same layers."""
    groups: dict[tuple[str, bool, tuple[int, ...], int], list[tuple[int, Result]]] = {}
    for row, record in enumerate(records):
        for result in record.results:
            if result.metric.table == LAYERS:
                key = (result.metric.name, result.finished, tuple(result.indices), len(result.values))
                groups.setdefault(key, []).append((row, result))
    for (_, done, indices, _), members in groups.items():
        metric = members[0][1].metric
        # Stacked in the order in which they lie in memory, then turned: (rows, records, layers).
        values = np.moveaxis(np.stack([result.values.numpy().T for _, result in members]), -1, 0)
        yield metric, indices, [row for row, _ in members], _finished(metric, values, finished=done)


def _of_table(table: str, records: Sequence[Record]) -> list[tuple[int, Result]]:
    """Return the results for a table that say something, each with the row of its record."""
    return [
        (row, result)
        for row, record in enumerate(records)
        for result in record.results
        if result.metric.table == table and result.indices
    ]


def _places(found: list[tuple[int, Result]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return record row, layer index and label of each table row."""
    rows = np.concatenate([np.full(len(result.indices), row) for row, result in found])
    layers = np.concatenate([np.array(result.indices) for _, result in found])
    labels = [result.metric.label for _, result in found for _ in result.indices]
    return rows, layers, labels


def _words(values: Sequence[str]) -> pa.DictionaryArray:
    return word_array(values).dictionary_encode()


def _array(column: Column, values: np.ndarray, missing: np.ndarray) -> pa.Array:
    if pa.types.is_integer(column.type):
        missing = missing | np.isnan(values)  # a count that the ranks do not agree on
        return number_array(np.where(missing, 0, values), column.type, missing=missing)
    with np.errstate(over="ignore"):  # beyond float32 is infinity there: divergence stays visible
        return number_array(values, pa.float32(), missing=missing)
