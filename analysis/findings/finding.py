"""A finding: its kind, the columns it needs, and the function that searches the tables for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from probes.schema import LAYER, RUN, STEP

KIND, FROM_STEP, VALUE, MESSAGE = "kind", "from_step", "value", "message"
COLUMNS = (RUN, KIND, LAYER, FROM_STEP, VALUE, MESSAGE)


@dataclass(frozen=True)
class Thresholds:
    """Levels above which a value is a finding.

    Attributes:
        explosion: Spectral norm of a layer, divided by its first recorded value.
        dead: Share of dead channels of a layer; a share equal to it is a finding too.
        vanished: Gradient norm of a layer, divided by its largest recorded value; a finding is below.
        drift: Drift of the weight mean, divided by the standard deviation of the weights.
    """

    explosion: float = 10.0
    dead: float = 0.9
    vanished: float = 1e-5
    drift: float = 0.5


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes:
        kind: The word in column ``kind``.
        reads: The columns it needs, by table.
        find: Takes tables ``layers`` and ``steps`` and the thresholds; returns a table with ``COLUMNS``, a row for
            each run and layer. Pure. A table that lacks a column gives no rows.
    """

    kind: str
    reads: Mapping[str, tuple[str, ...]]
    find: Callable[[pd.DataFrame, pd.DataFrame, Thresholds], pd.DataFrame]


def first_above(
    layers: pd.DataFrame,
    columns: Sequence[str],
    measure: Callable[[pd.DataFrame], pd.Series],
    level: float,
    *,
    kind: str,
    text: str,
) -> pd.DataFrame:
    """Return for each run and layer the first step at which a measure is above a level.

    Args:
        layers: Table ``layers``.
        columns: Columns that the measure needs; rows in which one is null or NaN are passed over.
        measure: Returns the measured value of each row, from rows in step order.
        level: The level.
        kind: The word in column ``kind``.
        text: The message, with ``{value}`` for the measured value.
    """
    if not {RUN, STEP, LAYER, *columns} <= set(layers):
        return no_findings()
    rows = layers.dropna(subset=list(columns)).sort_values(STEP, kind="stable")
    rows = rows.assign(value=measure(rows).astype("float64"))
    first = rows[rows[VALUE] > level].drop_duplicates([RUN, LAYER])
    messages = [text.format(value=value) for value in first[VALUE]]
    return as_findings(first, kind=kind, values=first[VALUE], messages=messages)


def as_findings(rows: pd.DataFrame, *, kind: str, values: pd.Series, messages: list[str]) -> pd.DataFrame:
    """Return rows of a table as findings that begin at the rows' steps."""
    table = rows.astype({RUN: str, LAYER: str})
    table = table.assign(kind=kind, from_step=rows[STEP], value=values, message=messages)
    return table[list(COLUMNS)].reset_index(drop=True)


def no_findings() -> pd.DataFrame:
    """Return a table of findings without rows."""
    return pd.DataFrame({name: pd.Series(dtype="float64" if name == VALUE else "object") for name in COLUMNS})
