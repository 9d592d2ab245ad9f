"""Two helpers for tables ``layers`` and ``steps``: the layers with the largest values, and both tables joined."""

from __future__ import annotations

import pandas as pd

from analysis.reading.selection import abbreviated
from probes.schema import EPOCH, LAYER, LAYER_INDEX, RUN, SPLIT, STEP, TRAIN


def top_layers(layers: pd.DataFrame, column: str, *, most: int = 10, smallest: bool = False) -> pd.DataFrame:
    """Return the layers of each run with the largest last values of a column, the largest first.

    Columns: ``run``, ``layer``, ``layer_index``, ``step`` of the last record at which it was measured, and the column.
    Rows in which the column is null or NaN are ignored.

    Args:
        layers: :func:`analysis.layers`, or any rows of it.
        column: A column of ``layers``.
        most: Number of layers of each run.
        smallest: Whether to take the smallest values instead of the largest.

    Raises:
        ValueError: There is no such column.
    """
    if column not in layers:
        raise ValueError(f"no column {column!r}; there are: {abbreviated([str(name) for name in layers.columns])}")
    keys = [name for name in (RUN, LAYER) if name in layers]
    shown = [name for name in (RUN, LAYER, LAYER_INDEX, STEP) if name in layers]
    measured = layers[layers[column].notna()].sort_values(STEP, kind="stable")
    last = measured.groupby(keys, observed=True, sort=False).tail(1)
    ranked = last.sort_values(column, ascending=smallest, kind="stable")
    if RUN in ranked:
        ranked = ranked.groupby(RUN, observed=True, sort=False).head(most).sort_values(RUN, kind="stable")
    else:
        ranked = ranked.head(most)
    return ranked[[*shown, column]].reset_index(drop=True)


def join(layers: pd.DataFrame, steps: pd.DataFrame, *, split: str = TRAIN) -> pd.DataFrame:
    """Return each row of table ``layers`` with the numbers logged at its step: loss, accuracy, learning rate, ...

    A row whose step was not logged has nulls there; no row of ``layers`` is lost or repeated. A column that both tables
    have ends in ``_logged`` where it comes from ``steps``.

    Args:
        layers: :func:`analysis.layers`, or any rows of it.
        steps: :func:`analysis.steps`.
        split: The split whose rows are taken.

    Raises:
        ValueError: ``steps`` has two rows of one run, step and split.
    """
    rows = steps[steps[SPLIT] == split] if SPLIT in steps else steps
    keys = [name for name in (RUN, STEP) if name in layers and name in rows]
    rows = rows.drop(columns=[name for name in (SPLIT, EPOCH) if name in rows])
    texts = {RUN: str} if RUN in keys else {}
    twice = rows.duplicated(keys)
    if twice.any():
        raise ValueError(
            f"table steps has step {rows.loc[twice, STEP].iloc[0]} twice in split {split!r}: expected once a run"
        )
    return layers.astype(texts).merge(rows.astype(texts), on=keys, how="left", suffixes=("", "_logged"))
