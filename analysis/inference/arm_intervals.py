"""The mean of each arm with its confidence interval over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.inference.run_scores import ARM, LAST

LEVEL = 0.95


def mean_interval(values: pd.Series | np.ndarray, *, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean of independent values and its t interval: ``mean -+ t s / sqrt(n)``, s with ``n - 1``.

    One value gives NaN as the interval. Equal values give an interval of length 0. NaN among the values gives NaN.

    Args:
        values: One value per seed.
        level: Share of such intervals that hold the true mean, if the values are normal.
    """
    found = np.asarray(values, dtype="float64")
    mean = float(found.mean()) if len(found) else math.nan
    if len(found) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return mean, mean - half, mean + half


def arm_intervals(scores: pd.DataFrame, *, column: str = LAST, level: float = LEVEL) -> pd.DataFrame:
    """Return a row per arm: ``arm``, ``runs``, ``diverged``, ``mean``, ``sd``, ``low`` and ``high``; best mean first.

    Args:
        scores: Table of :func:`analysis.inference.run_scores.run_scores`.
        column: The score.
        level: As in :func:`mean_interval`.
    """
    rows = []
    for arm, of_arm in scores.groupby(ARM, sort=False):
        mean, low, high = mean_interval(of_arm[column], level=level)
        spread = float(of_arm[column].std(ddof=1, skipna=False))
        diverged = int(of_arm["diverged"].sum())
        rows.append(
            {ARM: arm, "runs": len(of_arm), "diverged": diverged, "mean": mean, "sd": spread, "low": low, "high": high}
        )
    table = pd.DataFrame(rows, columns=[ARM, "runs", "diverged", "mean", "sd", "low", "high"])
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
