"""Possible mediators of a norm's effect on the accuracy, one number per run: drift, scale, rank and update angle."""

from __future__ import annotations

import math

import pandas as pd

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import load
from analysis.summaries.layer_choice import is_normalisation
from analysis.summaries.nonlinearities.channel_drift import SEEN_DRIFT, UNLEARNED_DRIFT, channel_drift
from analysis.summaries.subsets import was_measured
from probes import schema
from probes.schema import LAYER_INDEX, LAYER_TYPE, RUN, STEP

SCALE, RANK, ANGLE = "log_scale", "log_effective_rank", "log_update_angle"
MEDIATORS = (SEEN_DRIFT, UNLEARNED_DRIFT, SCALE, RANK, ANGLE)
LATE_SHARE = 1 / 3
SETTLED = 50  # steps after which running statistics have settled
_COLUMNS = ("activation_var", "effective_rank", "update_angle")


def mediators(store: AnyStore, *, runs: Patterns = None, drift: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row per run: means over layers and over the records in the last third of its steps.

    - ``seen_drift``: drift of the channel means before the nonlinearities, on the probe batch in evaluation mode, in
      deviations, as in :func:`analysis.channel_drift`. The next layer has to adapt to it;
    - ``unlearned_drift``: the part of it that is no learned beta, m or bias. In training mode a norm removes the batch
      mean; in evaluation mode its running mean must do so;
    - ``log_scale``: natural logarithm of the standard deviation before the nonlinearity, of the layer's norm if it has
      one, else of the layer; the last layer, whose output is the network's, is left out;
    - ``log_effective_rank``: natural logarithm of the effective rank of the layers with a weight matrix except the
      last, where it was measured;
    - ``log_update_angle``: natural logarithm of the update angle of the same layers.

    Both drifts count from the first record at or after step 50, when running statistics have reached those of the data.
    That record itself, where drift is 0, is left out. ``activation_drift`` is not used: behind a norm or a centring in
    training mode it is the change of beta or m.

    A NaN in a value gives NaN for the run, and so does a quantity without a record.

    Args:
        store: The store.
        runs: Run ids or shell patterns.
        drift: ``channel_drift(channels(store), since=50)``, if it was kept instead of table ``channels``.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: A column or table ``channels`` was not recorded, or no run matches.
    """
    opened = Store.open(store)
    table = load(opened, schema.LAYERS, columns=_COLUMNS, runs=runs, mark=True).astype({RUN: str})
    lengths = table.groupby(RUN)[STEP].max()
    inner = table[LAYER_INDEX] < table.groupby(RUN)[LAYER_INDEX].transform("max")
    late = table[inner & _is_late(table, lengths)]
    types = late[LAYER_TYPE].astype(str)
    norms = types.map({name: is_normalisation(name) for name in types.unique()}).astype(bool)
    normalised = norms.groupby(late[RUN]).transform("any")
    seen, matrices = late[norms | ~normalised], late[~norms]
    deviation = _measured(seen, "activation_var") ** 0.5
    if drift is None:
        drift = channel_drift(load(opened, schema.CHANNELS, runs=runs), since=SETTLED)
    drift = _late_drift(drift.astype({RUN: str}), lengths)
    return pd.DataFrame(
        {
            SEEN_DRIFT: _by_run(drift[SEEN_DRIFT], drift[RUN]),
            UNLEARNED_DRIFT: _by_run(drift[UNLEARNED_DRIFT], drift[RUN]),
            SCALE: _by_run(deviation.map(_log), seen[RUN]),
            RANK: _by_run(_measured(matrices, "effective_rank").map(_log), matrices[RUN]),
            ANGLE: _by_run(_measured(matrices, "update_angle").map(_log), matrices[RUN]),
        },
        index=lengths.index,
    ).reset_index()


def _is_late(table: pd.DataFrame, lengths: pd.Series) -> pd.Series:
    return table[STEP] >= (1 - LATE_SHARE) * table[RUN].map(lengths)


def _late_drift(drift: pd.DataFrame, lengths: pd.Series) -> pd.DataFrame:
    """Return the drift of each layer at the late records except the record that drift counts from, where it is 0."""
    settled = drift[drift[RUN].isin(lengths.index) & (drift[STEP] >= SETTLED)]
    moved = settled[[SEEN_DRIFT, UNLEARNED_DRIFT]].ne(0).any(axis="columns")
    at_step = moved.groupby([settled[RUN], settled[STEP]]).transform("any")
    return settled[at_step & _is_late(settled, lengths)]


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def _measured(table: pd.DataFrame, column: str) -> pd.Series:
    return table.loc[was_measured(table, column), column].astype("float64")


def _by_run(values: pd.Series, runs: pd.Series) -> pd.Series:
    """Return the mean of each run; NaN if a value is NaN."""
    return values.groupby(runs.loc[values.index]).agg(lambda each: each.to_numpy().mean())
