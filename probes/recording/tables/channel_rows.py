"""Rows of table ``channels``: one for each step, layer and channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import number_array, word_array
from probes.measuring.result import Result
from probes.metrics.channels import HEAD
from probes.metrics.nonlinearities import NONLINEARITIES
from probes.recording.tables.vectors import Keys, vectors_of
from probes.schema import CHANNEL_COLUMNS, CHANNEL_NUMBERS, CHANNELS, arrow_schema


def channel_batch(found: Sequence[tuple[int, Result]], keys: Keys) -> pa.RecordBatch | None:
    """Return the rows of some results; None without results.

    Args:
        found: Results of the probe batch, each with the row of its record. A column of each result is a vector of
            :func:`probes.metrics.channels.channel_vector`.
        keys: Returns the columns that name step and layer, from the record and layer of each row.
    """
    vectors = vectors_of(found)
    if vectors is None:
        return None
    counts = vectors.counts
    words = np.repeat([int(vector[0]) for vector in vectors.values], counts)
    numbers = np.concatenate([_numbers(vector, count) for vector, count in zip(vectors.values, counts, strict=True)], 1)
    missing = np.repeat(np.array([vector[2:HEAD] == 0 for vector in vectors.values]), counts, axis=0).T
    arrays = [
        number_array(vectors.within, pa.int32()),
        pa.DictionaryArray.from_arrays(number_array(words, pa.int32()), word_array(NONLINEARITIES)),
        *(number_array(v, pa.float32(), missing=m) for v, m in zip(numbers, missing, strict=True)),
    ]
    return pa.RecordBatch.from_arrays(
        [*keys(vectors.records, vectors.layers), *arrays], schema=arrow_schema(CHANNELS, CHANNEL_COLUMNS)
    )


def _numbers(vector: np.ndarray, count: int) -> np.ndarray:
    size = len(CHANNEL_NUMBERS) * count
    return vector[HEAD : HEAD + size].reshape(len(CHANNEL_NUMBERS), count)
