"""Turns blocks of records into Arrow record batches of the store's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import list_array, number_array, word_array
from probes.measuring.result import Result
from probes.metrics.flat import batches
from probes.metrics.histogram import HALF, MANTISSA_BITS, OCTAVE, SLOTS, occupied_bins
from probes.metrics.metric import Metric
from probes.metrics.singular_values import PADDING
from probes.model.containers import Container
from probes.model.layer import Layer
from probes.model.parameters import Parameter
from probes.recording.record import Record
from probes.recording.tables.channel_rows import channel_batch
from probes.recording.tables.dense_table import DenseTable, finished
from probes.recording.tables.unit_rows import unit_batch
from probes.schema import (
    CHANNELS,
    HISTOGRAM_COLUMNS,
    HISTOGRAMS,
    LAYERS,
    PARAMETERS,
    SPECTRA,
    SPECTRA_COLUMNS,
    UNITS,
    arrow_schema,
)

COUNTS_AT_ONCE = 1 << 17  # counts turned into rows at a time, 1 MB: the conversion takes many times that


class Tables:
    """Turns records into record batches of the store's tables."""

    def __init__(
        self,
        layers: Sequence[Layer],
        metrics: Sequence[Metric],
        parameters: Sequence[Parameter] = (),
        containers: Sequence[Container] = (),
    ) -> None:
        self._names = word_array([layer.name for layer in layers])
        kinds = list(dict.fromkeys(layer.kind for layer in layers))  # each once, as pandas requires of categories
        self._kinds = word_array(kinds)
        self._kind_of = np.array([kinds.index(layer.kind) for layer in layers], dtype=np.int32)
        self._parameters = word_array([parameter.name for parameter in parameters])
        # Keep names and no modules: the thread that writes must not keep a model alive.
        self._container_names = word_array([each.name for each in containers])
        self._container_kinds = [each.kind for each in containers]
        self._container_depths = np.array([each.depth for each in containers], dtype=np.int16)
        self._metrics = {metric.name: place for place, metric in enumerate(metrics)}
        self._dense = {
            LAYERS: DenseTable(LAYERS, metrics, len(layers), self._keys),
            PARAMETERS: DenseTable(PARAMETERS, metrics, len(parameters), self._parameter_keys),
        }

    def batches(self, records: Sequence[Record]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the table name and batch of each table for which the records have rows."""
        for record in records:
            record.wait()
            record.results.sort(key=self._order)  # some results were computed later than others
        parts = [
            *((name, table.batch(records)) for name, table in self._dense.items()),
            (SPECTRA, self._spectra(records)),
            (CHANNELS, channel_batch(_of_table(CHANNELS, records), partial(self._keys, records))),
            (UNITS, unit_batch(_of_table(UNITS, records), partial(self._container_keys, records))),
        ]
        yield from ((table, batch) for table, batch in parts if batch is not None and batch.num_rows)
        found = _of_table(HISTOGRAMS, records)
        for first, last in batches([result.values.numel() for _, result in found], COUNTS_AT_ONCE):
            yield HISTOGRAMS, self._histograms(records, found[first:last])

    def _order(self, result: Result) -> tuple[int, list[int]]:
        return self._metrics.get(result.metric.name, -1), result.indices[:1]

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
        index = number_array(layers, pa.int32())
        return [
            *_step_keys(records, rows),
            pa.DictionaryArray.from_arrays(index, self._names),
            number_array(layers, pa.int16()),
            pa.DictionaryArray.from_arrays(number_array(self._kind_of[layers], pa.int32()), self._kinds),
        ]

    def _container_keys(self, records: Sequence[Record], rows: np.ndarray, places: np.ndarray) -> list[pa.Array]:
        kinds = word_array([self._container_kinds[place] for place in places]).dictionary_encode()
        depths = self._container_depths[places]
        names = pa.DictionaryArray.from_arrays(number_array(places, pa.int32()), self._container_names)
        return [*_step_keys(records, rows), names, number_array(depths, pa.int16()), kinds]

    def _parameter_keys(self, records: Sequence[Record], rows: np.ndarray, parameters: np.ndarray) -> list[pa.Array]:
        index = number_array(parameters, pa.int32())
        return [*_step_keys(records, rows), pa.DictionaryArray.from_arrays(index, self._parameters), index]


def _step_keys(records: Sequence[Record], rows: np.ndarray) -> list[pa.Array]:
    steps = np.array([record.step for record in records], dtype=np.int64)
    epochs = np.array([-1 if record.epoch is None else record.epoch for record in records], dtype=np.int32)[rows]
    return [number_array(steps[rows], pa.int64()), number_array(epochs, pa.int32(), missing=epochs < 0)]


def _of_table(table: str, records: Sequence[Record]) -> list[tuple[int, Result]]:
    """Return the results for a table that have values, each with the row of its record."""
    return [
        (row, result)
        for row, record in enumerate(records)
        for result in record.results
        if result.metric.table == table and result.indices
    ]


def _places(found: list[tuple[int, Result]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the record row, layer index and label of each table row."""
    rows = np.concatenate([np.full(len(result.indices), row) for row, result in found])
    layers = np.concatenate([np.array(result.indices) for _, result in found])
    labels = [result.metric.label for _, result in found for _ in result.indices]
    return rows, layers, labels


def _words(values: Sequence[str]) -> pa.DictionaryArray:
    return word_array(values).dictionary_encode()
