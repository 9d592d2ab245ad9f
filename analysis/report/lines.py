"""The lines of one run: for each column one line per layer (or split), thinned to what a chart needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.report.thinning import kept_records
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE, SPLIT, STEP


@dataclass(frozen=True)
class Lines:
    """The lines of a column in one run.

    Attributes:
        counts: Number of points of each line, ``(lines,)``.
        steps: The steps of the points, one line after the other, ascending within a line, ``(points,)``.
        values: The values of the points, ``(points,)``, float64; NaN is a measured NaN.
    """

    counts: np.ndarray
    steps: np.ndarray
    values: np.ndarray


class RunTable:
    """The rows of one run, arranged by record and by layer (or split).

    Attributes:
        names: The layers in forward order, or the splits.
        types: The class name of each layer's module; empty for splits.
        steps: The step of each record, ascending.
    """

    def __init__(self, rows: pa.Table, *, always: Sequence[int] = ()) -> None:
        """Arrange rows of table ``layers`` or ``steps``.

        Args:
            rows: Rows with the table's keys, in any order. If rows have the same keys, the last row that measured the
                column counts.
            always: Steps whose points are never thinned out.
        """
        by = LAYER if LAYER in rows.column_names else SPLIT
        if rows[by].null_count or rows[STEP].null_count:  # rows without layer or step are in no line
            rows = rows.filter(pc.and_(rows[by].is_valid(), rows[STEP].is_valid()))
        self._rows = rows
        word = _without_dictionary(rows[by])
        encoded = (
            word.combine_chunks().dictionary_encode() if len(word) else pa.array([], pa.string()).dictionary_encode()
        )
        found = [str(name) for name in encoded.dictionary.to_pylist()]
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        order = _forward_order(rows, codes, found) if by == LAYER else sorted(range(len(found)), key=found.__getitem__)
        place = np.empty(len(found), dtype=np.int64)
        place[order] = np.arange(len(found))
        self.names = [found[i] for i in order]
        self.types = _types(rows, codes, order) if LAYER_TYPE in rows.column_names else [""] * len(found)
        self._columns_of = place[codes] if len(codes) else np.zeros(0, dtype=np.int64)
        self.steps, self._records_of = np.unique(rows[STEP].to_numpy(), return_inverse=True)
        self._always = np.isin(self.steps, np.asarray(always, dtype=np.int64))

    def lines(self, column: str, *, most: int, only: Collection[str] | None = None) -> Lines:
        """Return a column as lines of about ``most`` points.

        A column that the rows lack gives lines without points, and so do layers that are not among ``only``.
        """
        shape = len(self.steps), len(self.names)
        values, measured = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        if column in self._rows.column_names:
            stored = self._rows[column]
            valid = stored.is_valid().to_numpy()  # of two rows of a step, the row that measured it counts
            where = self._records_of[valid], self._columns_of[valid]
            values[where] = stored.drop_null().cast(pa.float64(), safe=False).to_numpy()
            measured[where] = True
        if only is not None:
            measured[:, [name not in only for name in self.names]] = False
        kept = kept_records(values, measured, most=most, always=self._always)
        lines, records = np.nonzero(kept.T)
        counts = np.bincount(lines, minlength=len(self.names))
        return Lines(counts, self.steps[records], values[records, lines])


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def _forward_order(rows: pa.Table, codes: np.ndarray, found: list[str]) -> list[int]:
    depth = np.zeros(len(found))
    if LAYER_INDEX in rows.column_names:
        index = rows[LAYER_INDEX].to_numpy()  # NaN where null: such a layer comes last
        depth[codes[::-1]] = index[::-1]  # a layer's first row is assigned last
    return sorted(range(len(found)), key=lambda i: (np.isnan(depth[i]), depth[i], found[i]))


def _types(rows: pa.Table, codes: np.ndarray, order: Sequence[int]) -> list[str]:
    first = np.zeros(len(order), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    words = _without_dictionary(rows[LAYER_TYPE]).take(pa.array(first)).to_pylist()
    return [str(words[i]) for i in order]
