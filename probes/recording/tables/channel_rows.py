"""Rows of table ``channels``: one for each step, layer and channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from probes.arrow_arrays import number_array, word_array
from probes.measuring.result import Result
from probes.metrics.channels import HEAD
from probes.metrics.nonlinearities import NONLINEARITIES
from probes.schema import CHANNEL_COLUMNS, CHANNEL_NUMBERS, CHANNELS, arrow_schema

Keys = Callable[[np.ndarray, np.ndarray], list[pa.Array]]


def channel_batch(found: Sequence[tuple[int, Result]], keys: Keys) -> pa.RecordBatch | None:
    """Return the rows of some results, or None of none.

    Args:
        found: Results of the probe batch, each with the row of its record; a column of each is a vector of
            :func:`probes.metrics.channels.channel_vector`.
        keys: Returns the columns that name step and layer, given for each row its record and its layer.
    """
    vectors = [
        (row, layer, vector)
        for row, result in found
        for layer, vector in zip(result.indices, result.values.cpu().numpy().T, strict=True)
    ]
    if not vectors:
        return None
    counts = np.array([int(vector[1]) for _, _, vector in vectors])
    rows, layers = (np.repeat([each[place] for each in vectors], counts) for place in (0, 1))
    words = np.repeat([int(vector[0]) for _, _, vector in vectors], counts)
    channels = np.concatenate([np.arange(count) for count in counts])
    numbers = np.concatenate(
        [_numbers(vector, count) for (_, _, vector), count in zip(vectors, counts, strict=True)], 1
    )
    missing = np.repeat(np.array([vector[2:HEAD] == 0 for _, _, vector in vectors]), counts, axis=0).T
    arrays = [
        number_array(channels, pa.int32()),
        pa.DictionaryArray.from_arrays(number_array(words, pa.int32()), word_array(NONLINEARITIES)),
        *(number_array(v, pa.float32(), missing=m) for v, m in zip(numbers, missing, strict=True)),
    ]
    return pa.RecordBatch.from_arrays([*keys(rows, layers), *arrays], schema=arrow_schema(CHANNELS, CHANNEL_COLUMNS))


def _numbers(vector: np.ndarray, count: int) -> np.ndarray:
    size = len(CHANNEL_NUMBERS) * count
    return vector[HEAD : HEAD + size].reshape(len(CHANNEL_NUMBERS), count)
