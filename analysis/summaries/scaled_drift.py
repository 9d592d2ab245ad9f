"""Signed drift in units of the tensor's own standard deviation, and the speed of the drift."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.summaries.transforms import drift, require
from probes.schema import LAYER, RUN, STEP

TENSORS = ("activation", "weight")


def scaled_drift(table: pd.DataFrame, *, tensor: str = "activation") -> pd.Series:
    """Return ``(mean - mean at the first record) / standard deviation`` of a tensor, signed; same index as ``table``.

    The deviation is that of the same record. The measure does not change if all values are scaled by one factor, which
    makes it comparable over layers, norms and networks. It is 0 at the first record of each run and layer. It is NaN
    where a value is NaN, and where a constant tensor has not moved. It is infinite where a constant tensor has moved.

    Args:
        table: Rows of :func:`analysis.layers` in which ``<tensor>_mean`` and ``<tensor>_var`` were measured.
        tensor: ``activation``, a module's output, or ``weight``.

    Raises:
        ValueError: ``run``, ``layer``, ``step`` or one of the columns is missing.
    """
    require(table, [RUN, LAYER, STEP, f"{tensor}_mean", f"{tensor}_var"])
    return _divided(drift(table, column=f"{tensor}_mean"), _deviation(table, tensor)).rename(f"{tensor}_scaled_drift")


def drift_speed(table: pd.DataFrame, *, tensor: str = "activation") -> pd.Series:
    """Return ``|mean - mean at the record before| / (steps between * standard deviation)``; same index as ``table``.

    The unit is standard deviations per step. It is NaN at the first record of each run and layer, and where a value is
    NaN. Movement back and forth between two records is not seen, so compare only speeds of the same schedule.

    Args:
        table: As in :func:`scaled_drift`.
        tensor: ``activation`` or ``weight``.

    Raises:
        ValueError: As :func:`scaled_drift`.
    """
    require(table, [RUN, LAYER, STEP, f"{tensor}_mean", f"{tensor}_var"])
    ordered = table.sort_values(STEP, kind="stable")
    series = ordered.groupby([RUN, LAYER], observed=True, sort=False)
    moved = series[f"{tensor}_mean"].transform(lambda values: values.astype("float64").diff()).abs()
    speed = _divided(moved / series[STEP].diff(), _deviation(ordered, tensor))
    return speed.reindex(table.index).rename(f"{tensor}_drift_speed")


def with_scaled_drift(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``<tensor>_scaled_drift`` and ``<tensor>_drift_speed`` for each tensor that it has.

    Raises:
        ValueError: The table has neither activations nor weights, or lacks a key.
    """
    found = [tensor for tensor in TENSORS if f"{tensor}_mean" in table]
    if not found:
        require(table, [f"{tensor}_mean" for tensor in TENSORS])
    columns = [measure(table, tensor=tensor) for tensor in found for measure in (scaled_drift, drift_speed)]
    return table.assign(**{str(column.name): column for column in columns})


def _deviation(table: pd.DataFrame, tensor: str) -> pd.Series:
    return table[f"{tensor}_var"].astype("float64").pow(0.5)


def _divided(values: pd.Series, by: pd.Series) -> pd.Series:
    with np.errstate(divide="ignore", invalid="ignore"):
        return values / by
