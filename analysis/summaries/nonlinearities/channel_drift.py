"""Drift of each nonlinearity's input on a fixed batch: the whole drift, and the part that is no learned bias."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.summaries.transforms import require
from probes.schema import CHANNEL, LAYER, LAYER_INDEX, LAYER_TYPE, RUN, STEP

SEEN_DRIFT, UNLEARNED_DRIFT, UNLEARNED_MEAN = "seen_drift", "unlearned_drift", "unlearned_mean"
RUNNING_GAP = "running_gap"
DEAD_SHARE, POSITIVE_SHARE = "dead_share", "positive_share"
_KEYS = [RUN, STEP, LAYER_INDEX, LAYER, LAYER_TYPE, "nonlinearity"]


def channel_drift(table: pd.DataFrame, *, since: int = 0) -> pd.DataFrame:
    """Return measures of drift from table ``channels``, a row for each run, step and layer.

    In the formulas, ``mu_c``, ``sigma_c`` and ``b_c`` are the columns ``mean``, ``deviation`` and ``shift`` (0 where
    null), ``sigma^2`` is ``mean_c sigma_c^2``, and ``D(x) = sqrt(mean_c (x_c - x_c(reference))^2) / sigma``. The
    reference is the layer's first record at or after step ``since``.

    - ``seen_drift``, ``D(mu)``: how far the channel means have moved since the reference, in deviations. Behind batch
      norm or mean-centring most of it is their beta or m, which the network has learned.
    - ``unlearned_drift``, ``D(mu - b)``: drift without the learned shift of the layer. It changes with a mean that the
      running statistics do not remove, and not with the shift alone. Without a norm this is the drift of ``W g``.
    - ``unlearned_mean``: ``sqrt(mean_c (mu_c - b_c)^2) / sigma``, the mean itself without the learned shift.
    - ``running_gap``: ``sqrt(mean_c (input_mean - running_mean)^2)`` in deviations of the input: how far the running
      mean is from that of the batch. NaN behind layers without running statistics.
    - ``dead_share``: share of channels with ``maximum <= 0``; NaN if a maximum is NaN.
    - ``positive_share``: mean of ``positive_fraction``.

    Running statistics start at 0 and need about 50 steps to reach those of the batches (momentum 0.1). Behind a norm
    that keeps them, drift from step 0 includes this start, and drift with ``since=50`` does not. Drift is NaN before
    the reference, and for a layer whose number of channels changes. For a constant layer (sigma = 0) it is NaN if the
    mean has not moved, and infinite if it has.

    Args:
        table: :func:`analysis.channels`.
        since: Step from which drift counts.

    Raises:
        ValueError: A key or a column of table ``channels`` is missing.
    """
    numbers = ["mean", "deviation", "maximum", "positive_fraction", "shift", "input_mean", "input_deviation"]
    require(table, [*_KEYS, CHANNEL, *numbers, "running_mean"])
    if table.empty:
        columns = [SEEN_DRIFT, UNLEARNED_DRIFT, UNLEARNED_MEAN, RUNNING_GAP, DEAD_SHARE, POSITIVE_SHARE]
        return table.reindex(columns=[*_KEYS, *columns])
    work = table[[*_KEYS, CHANNEL]].copy()
    mean, shift = _float(table["mean"]), _float(table["shift"]).fillna(0.0)
    work["seen"] = _moved(table, mean, since).pow(2)
    work["unlearned"] = _moved(table, mean - shift, since).pow(2)
    work["left"] = (mean - shift).pow(2)
    work["variance"] = _float(table["deviation"]).pow(2)
    work["gap"] = (_float(table["input_mean"]) - _float(table["running_mean"])).pow(2)
    work["input_variance"] = _float(table["input_deviation"]).pow(2)
    maximum = _float(table["maximum"])
    work["dead"] = (maximum <= 0).astype("float64").mask(maximum.isna())
    work["positive"] = _float(table["positive_fraction"])
    groups = work.groupby(_KEYS, observed=True, sort=True)
    measured = [name for name in work if name not in (*_KEYS, CHANNEL)]
    means = groups[measured].agg(_mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = pd.DataFrame(
            {
                SEEN_DRIFT: np.sqrt(means["seen"] / means["variance"]),
                UNLEARNED_DRIFT: np.sqrt(means["unlearned"] / means["variance"]),
                UNLEARNED_MEAN: np.sqrt(means["left"] / means["variance"]),
                RUNNING_GAP: np.sqrt(means["gap"] / means["input_variance"]),
                DEAD_SHARE: means["dead"],
                POSITIVE_SHARE: means["positive"],
            }
        )
    return result.reset_index()


def _float(values: pd.Series) -> pd.Series:
    return values.astype("float64")


def _mean(values: pd.Series) -> float:
    return float(values.to_numpy().mean())  # a NaN channel makes the layer NaN


def _moved(table: pd.DataFrame, values: pd.Series, since: int) -> pd.Series:
    """Return values minus the channel's value at its layer's first record at or after a step; NaN before this step."""
    frame = table[[RUN, STEP, LAYER, CHANNEL]].assign(value=values)
    frame = frame[frame[STEP] >= since]
    first = frame[frame[STEP] == frame.groupby([RUN, LAYER], observed=True)[STEP].transform("min")]
    keys = [RUN, LAYER, CHANNEL]
    joined = frame[keys].merge(first[[*keys, "value"]], on=keys, how="left", validate="many_to_one")
    return values - pd.Series(joined["value"].to_numpy(), index=frame.index).reindex(table.index)
