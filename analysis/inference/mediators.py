"""What may carry the effect of a norm on the accuracy, one number a run: drift, scale, rank and update angle."""

from __future__ import annotations

import math

import pandas as pd

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore
from analysis.reading.tables import load
from analysis.summaries.layer_choice import is_normalisation
from probes import schema
from probes.schema import LAYER_INDEX, LAYER_TYPE, RUN, STEP

DRIFT, SCALE, RANK, ANGLE = "drift", "log_scale", "log_effective_rank", "log_update_angle"
MEDIATORS = (DRIFT, SCALE, RANK, ANGLE)
LATE_SHARE = 1 / 3
_COLUMNS = ("activation_drift", "activation_var", "effective_rank", "update_angle")


def mediators(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return a row a run: means over layers and over the records in the last third of its steps.

    - ``drift``: drift of the channel means before the nonlinearity, in standard deviations of the tensor,
      ``activation_drift / sqrt(activation_var)``, of the layer's norm if it has one, else of the layer;
    - ``log_scale``: natural logarithm of that standard deviation;
    - ``log_effective_rank``: of the layers with a weight matrix, where it was measured;
    - ``log_update_angle``: of the same layers.

    The last layer, whose output is the network's, is left out. NaN in a value gives NaN for the run; what no record
    holds is NaN. Behind a centring the drift is that of m: an arm with centring has little by construction, and a
    table of mediators shows whether the accuracy follows it all the same.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: A column was not recorded, or no run matches.
    """
    table = load(store, schema.LAYERS, columns=_COLUMNS, runs=runs).astype({RUN: str})
    last = table.groupby(RUN, observed=True)[STEP].transform("max")
    inner = table[LAYER_INDEX] < table.groupby(RUN, observed=True)[LAYER_INDEX].transform("max")
    late = table[inner & (table[STEP] >= (1 - LATE_SHARE) * last)]
    types = late[LAYER_TYPE].astype(str)
    norms = types.map({name: is_normalisation(name) for name in types.unique()}).astype(bool)
    normalised = norms.groupby(late[RUN]).transform("any")
    seen, matrices = late[norms | ~normalised], late[~norms]
    deviation = seen["activation_var"].astype("float64") ** 0.5
    drift = seen["activation_drift"].astype("float64") / deviation
    return pd.DataFrame(
        {
            DRIFT: _by_run(drift, seen[RUN]),
            SCALE: _by_run(deviation.map(_log), seen[RUN]),
            RANK: _by_run(_measured(matrices, "effective_rank").map(_log), matrices[RUN]),
            ANGLE: _by_run(_measured(matrices, "update_angle").map(_log), matrices[RUN]),
        }
    ).reset_index()


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def _measured(table: pd.DataFrame, column: str) -> pd.Series:
    return table[column].dropna().astype("float64")


def _by_run(values: pd.Series, runs: pd.Series) -> pd.Series:
    """Return the mean of each run, NaN if a value is."""
    return values.groupby(runs.loc[values.index]).agg(lambda each: each.to_numpy().mean())
