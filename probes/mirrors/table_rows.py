"""Rows of the store's tables as named scalars and histograms of one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from probes import schema
from probes.schema import bin_edges

SHOWN = (schema.LAYERS, schema.PARAMETERS, schema.HISTOGRAMS, schema.STEPS)
"""The tables that hold scalars or histograms.

Whole spectra are neither.
"""

_NAMED_BY = (schema.LAYER, schema.PARAMETER, schema.TENSOR, schema.SPLIT)


class Histogram(NamedTuple):
    """Counts of elements.

    Attributes:
        counts: ``(bins,)``.
        edges: ``(bins + 1,)``, ascending.
    """

    counts: np.ndarray
    edges: np.ndarray

    def with_at_most(self, bins: int) -> Histogram:
        """Return the histogram with neighbouring bins joined in pairs, until at most ``bins`` remain."""
        counts, edges = self
        while len(counts) > bins:
            if len(counts) % 2:
                counts, edges = np.append(counts, 0), np.append(edges, edges[-1] + (edges[-1] - edges[-2]))
            counts, edges = counts[::2] + counts[1::2], edges[::2]
        return Histogram(counts, edges)


@dataclass
class StepValues:
    """The scalars and histograms of one step.

    Attributes:
        step: Optimizer steps finished before.
        scalars: By name, such as ``net.0/spectral_norm`` or ``train/loss``.
        histograms: By name, such as ``net.0/weight``.
    """

    step: int
    scalars: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


def scalars_of(table: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and value of each number in a row, except its keys."""
    keys = {column.name for column in schema.KEYS[table]} | {schema.RUN}
    prefix = _prefix(row)
    for name, value in row.items():
        if name not in keys and isinstance(value, (int, float)):
            yield f"{prefix}/{name}", value


def histogram_of(row: Mapping[str, Any]) -> tuple[str, Histogram] | None:
    """Return the name and histogram of a row of table ``histograms``; None if it counts no finite element."""
    counts = np.asarray(row["counts"] or [], dtype=np.float64)
    if not counts.size:
        return None
    edges = bin_edges(row["first_bin"], counts.size, mantissa_bits=row["mantissa_bits"])
    return _prefix(row), Histogram(counts, edges)


def values_of(tables: Mapping[str, pa.Table]) -> list[StepValues]:
    """Return the scalars and histograms of each step in the tables, in the order of the steps."""
    found: dict[int, StepValues] = {}
    for table, row in _rows(tables):
        values = found.setdefault(row[schema.STEP], StepValues(row[schema.STEP]))
        if table == schema.HISTOGRAMS:
            named = histogram_of(row)
            values.histograms.update([] if named is None else [named])
        else:
            values.scalars.update(scalars_of(table, row))
    return [found[step] for step in sorted(found)]


def _rows(tables: Mapping[str, pa.Table]) -> Iterable[tuple[str, dict[str, Any]]]:
    return ((table, row) for table in SHOWN if table in tables for row in tables[table].to_pylist())


def _prefix(row: Mapping[str, Any]) -> str:
    return "/".join(str(row[name]) for name in _NAMED_BY if name in row)
