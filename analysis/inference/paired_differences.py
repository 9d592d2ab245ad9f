"""Differences between two arms on equal seeds: intervals, adjusted tests and the smallest detectable difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.inference.arm_intervals import LEVEL, mean_interval
from analysis.inference.run_scores import ARM, LAST, SEED

POWER = 0.8
COLUMNS = ("arm", "against", "seeds", "difference", "low", "high", "p", "p_holm", "detectable")


def paired_differences(
    scores: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, column: str = LAST, level: float = LEVEL
) -> pd.DataFrame:
    """Return a row per pair: the mean of ``arm - against`` over the seeds that both have.

    Equal seeds share first weights, order and augmentation, so that the difference of a pair scatters less than the
    arms do. Columns: ``arm``, ``against``, ``seeds`` (pairs of runs), ``difference``, ``low``, ``high`` (t interval),
    ``p`` (paired t test, two-sided), ``p_holm`` (adjusted for all pairs of the table, Holm 1979) and ``detectable``
    (:func:`detectable_difference`). Fewer than two common seeds give NaN. A score of NaN gives NaN too. Equal
    differences give p = 0, or NaN if all are 0.

    Args:
        scores: Table of :func:`analysis.inference.run_scores.run_scores`.
        pairs: Pairs of arms by name: the first is compared against the second.
        column: The score.
        level: As in :func:`~analysis.inference.arm_intervals.mean_interval`.

    Raises:
        ValueError: An arm is not there; the message lists the valid names.
    """
    values = scores.pivot(index=SEED, columns=ARM, values=column)
    if missing := [arm for pair in pairs for arm in pair if arm not in values]:
        raise ValueError(f"no arm {', '.join(missing)}: there are {', '.join(values.columns)}.")
    seeds = {arm: set(rows[SEED]) for arm, rows in scores.groupby(ARM)}
    both = {pair: sorted(seeds[pair[0]] & seeds[pair[1]]) for pair in pairs}  # a score of NaN is kept
    rows = [_row(arm, against, values.loc[both[arm, against], [arm, against]], level) for arm, against in pairs]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    tested = table["p"].notna()
    adjusted = np.full(len(table), np.nan)
    if tested.any():
        adjusted[tested] = multipletests(table.loc[tested, "p"], method="holm")[1]
    return table.assign(p_holm=adjusted)[list(COLUMNS)]


def _row(arm: str, against: str, values: pd.DataFrame, level: float) -> dict[str, object]:
    differences = values[arm] - values[against]
    mean, low, high = mean_interval(differences, level=level)
    spread = float(differences.std(ddof=1, skipna=False))
    p = _p(differences.to_numpy("float64"))
    seen = detectable_difference(spread, seeds=len(differences), alpha=1 - level)
    return dict(
        zip(
            [name for name in COLUMNS if name != "p_holm"],
            (arm, against, len(differences), mean, low, high, p, seen),
            strict=True,
        )
    )


def _p(differences: np.ndarray) -> float:
    if len(differences) < 2 or not np.isfinite(differences).all():
        return math.nan
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():  # no scatter but rounding: scipy would divide by it
        return 0.0 if differences[0] else math.nan
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def detectable_difference(sd: float, *, seeds: int, power: float = POWER, alpha: float = 1 - LEVEL) -> float:
    """Return the smallest true difference that a paired t test finds with probability ``power``.

    It has the unit of ``sd``, the standard deviation of the differences. ``sd`` is an estimate from few seeds, so the
    result is an order of magnitude. It tells "no effect" from "too few seeds to see it". NaN below two seeds and where
    sd is NaN.

    Args:
        sd: Standard deviation of the differences.
        seeds: Pairs of runs.
        power: Probability of finding the difference.
        alpha: Probability of finding a difference where there is none.
    """
    if seeds < 2 or math.isnan(sd):
        return math.nan
    effect = TTestPower().solve_power(effect_size=None, nobs=seeds, alpha=alpha, power=power, alternative="two-sided")
    return float(np.asarray(effect).item()) * sd
