"""Results with one vector for each layer, of any length: a head, whose second entry counts rows, then numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from probes.measuring.result import Result

Keys = Callable[[np.ndarray, np.ndarray], list[pa.Array]]
"""Returns the columns that name step and layer, from the index of the record and of the layer of each row."""


class Vectors(NamedTuple):
    """The vectors of some results, and the origin of each row of the table.

    Attributes:
        values: The vectors.
        counts: ``(vectors,)``, number of rows that each vector makes.
        records: ``(rows,)``, the index of the record.
        layers: ``(rows,)``, the index of the layer.
        within: ``(rows,)``, the position of the row in its vector, from 0.
    """

    values: list[np.ndarray]
    counts: np.ndarray
    records: np.ndarray
    layers: np.ndarray
    within: np.ndarray


def vectors_of(found: Sequence[tuple[int, Result]]) -> Vectors | None:
    """Return the vectors of results, each with the index of its record; None without results."""
    vectors = [
        (record, layer, vector)
        for record, result in found
        for layer, vector in zip(result.indices, result.values.cpu().numpy().T, strict=True)
    ]
    if not vectors:
        return None
    counts = np.array([int(vector[1]) for _, _, vector in vectors])
    records, layers = (np.repeat([each[place] for each in vectors], counts) for place in (0, 1))
    within = np.concatenate([np.arange(count) for count in counts])
    return Vectors([vector for _, _, vector in vectors], counts, records, layers, within)
