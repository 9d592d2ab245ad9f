"""Rows of table ``units``: one for each step and each attention head or expert of a mixture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import number_array
from probes.measuring.result import Result
from probes.metrics.attention import HEADS
from probes.recording.tables.vectors import Keys, vectors_of
from probes.schema import ATTENTION_COLUMNS, ROUTER_COLUMNS, UNIT_COLUMNS, UNITS, arrow_schema

_HEAD = 2  # entries of a vector before the numbers: kind, units


def unit_batch(found: Sequence[tuple[int, Result]], keys: Keys) -> pa.RecordBatch | None:
    """Return the rows of some results; None without results.

    Args:
        found: Results, each with the row of its record. A column of each result is a vector of
            :func:`probes.metrics.attention.head_vector` or :func:`probes.metrics.router.expert_vector`.
        keys: Returns the columns that name step and module, from the record and module of each row.
    """
    vectors = vectors_of(found)
    if vectors is None:
        return None
    numbers = np.zeros((len(UNIT_COLUMNS), len(vectors.within)))
    missing = np.ones(numbers.shape, dtype=bool)
    for vector, count, last in zip(vectors.values, vectors.counts, np.cumsum(vectors.counts), strict=True):
        own = ATTENTION_COLUMNS if vector[0] == HEADS else ROUTER_COLUMNS
        places = np.ix_(np.array([UNIT_COLUMNS.index(column) for column in own]), np.arange(last - count, last))
        numbers[places] = vector[_HEAD : _HEAD + len(own) * count].reshape(len(own), count)
        missing[places] = False
    arrays = [number_array(v, pa.float32(), missing=m) for v, m in zip(numbers, missing, strict=True)]
    columns = [*keys(vectors.records, vectors.layers), number_array(vectors.within, pa.int32()), *arrays]
    return pa.RecordBatch.from_arrays(columns, schema=arrow_schema(UNITS, UNIT_COLUMNS))
