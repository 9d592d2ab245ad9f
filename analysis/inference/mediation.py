"""Regression of the accuracy on possible mediators of a norm's effect: between arms, and within them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm

from analysis.inference.arm_intervals import LEVEL
from analysis.inference.run_scores import ARM, SEED

COLUMNS = ("mediator", "coefficient", "low", "high", "p", "inflation", "observations", "freedom")


def between_arms(table: pd.DataFrame, *, outcome: str, mediators: Sequence[str], level: float = LEVEL) -> pd.DataFrame:
    """Return the regression of the arms' mean outcome on their mean mediators, seeds as blocks.

    Each row is a mediator: the change of the outcome for one standard deviation of the mediator over arms, with the
    other mediators constant; its t interval and two-sided p; ``inflation``, the factor by which correlation with the
    other mediators increases the variance (above 5 they cannot be told apart); the number of arms; the degrees of
    freedom. Each arm is one observation, whatever the number of seeds, because runs of one arm are no independent
    evidence. Arms that lack a seed are left out, so that the effects of the seeds cancel.

    The regression does not prove a causal path: the coefficient of a mediator includes the effect of unmeasured
    mediators that are correlated with it.

    Args:
        table: One row per run: ``arm``, ``seed``, the outcome and the mediators.
        outcome: Column of the accuracy.
        mediators: Columns of the mediators.
        level: Of the intervals.

    Raises:
        ValueError: A value is not finite, a mediator is constant, or there are too few complete arms.
    """
    complete = _complete(table, [outcome, *mediators])
    means = complete.groupby(ARM)[[outcome, *mediators]].mean().astype("float64")
    constant = pd.DataFrame({"constant": 1.0}, index=means.index)
    return _fitted(means[outcome], means[list(mediators)], constant, level=level)


def within_arms(table: pd.DataFrame, *, outcome: str, mediators: Sequence[str], level: float = LEVEL) -> pd.DataFrame:
    """Return the regression over the runs, with the effect of each arm and of each seed taken out.

    The columns are those of :func:`between_arms`. The regression answers whether a run with more drift, for example, is
    less accurate than another run of the same arm. Differences between arms do not enter it. It uses the scatter
    between seeds alone, so its intervals are wide. Coefficients are for one standard deviation of a mediator after the
    effects of arms and seeds are taken out.
    """
    complete = _complete(table, [outcome, *mediators]).set_index([ARM, SEED])
    values = complete[list(mediators)].astype("float64")
    left = values - values.groupby(ARM).transform("mean") - values.groupby(SEED).transform("mean") + values.mean()
    blocks = complete.index.to_frame()
    arms, seeds = pd.get_dummies(blocks[ARM]), pd.get_dummies(blocks[SEED]).iloc[:, 1:]
    effects = pd.concat([arms, seeds], axis="columns").astype("float64")
    return _fitted(complete[outcome].astype("float64"), left, effects, level=level)


def _complete(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return the rows of arms that have every seed."""
    counts = table.groupby(ARM)[SEED].nunique()
    complete = table[table[ARM].map(counts) == table[SEED].nunique()]
    finite = np.isfinite(complete[names].to_numpy("float64")).all(axis=1)
    bad = complete.loc[~finite, ARM].unique()
    if len(bad):
        raise ValueError(f"a value of {', '.join(bad)} is not finite: leave these arms out, and say so.")
    return complete


def _fitted(outcome: pd.Series, mediators: pd.DataFrame, effects: pd.DataFrame, *, level: float) -> pd.DataFrame:
    """Return the table of a least-squares fit to standardised mediators.

    Args:
        outcome: One value a row.
        mediators: Values of the mediators, with mean 0 within each effect except the constant.
        effects: Columns that are fitted beside the mediators: a constant, or one column per arm and seed.
        level: Of the intervals.
    """
    freedom = len(outcome) - effects.shape[1] - mediators.shape[1]
    if freedom < 1:
        raise ValueError(
            f"{len(outcome)} rows, {mediators.shape[1]} mediators: expected one more arm or seed at least."
        )
    centred = mediators - mediators.mean()
    spread = np.sqrt(centred.pow(2).sum() / (len(centred) - effects.shape[1]))
    if constant := [str(name) for name in mediators if not spread[name] > 1e-12 * mediators[name].abs().max()]:
        raise ValueError(f"{', '.join(constant)} is the same in all rows: leave it out.")
    design = pd.concat([centred / spread, effects], axis="columns")
    if np.linalg.matrix_rank(design.to_numpy()) < design.shape[1]:
        raise ValueError(f"one of {', '.join(centred.columns)} follows from the others: leave it out.")
    fit = sm.OLS(outcome, design).fit()
    interval = fit.conf_int(alpha=1 - level)
    rows = []
    for name, inflation in zip(mediators, _inflation(centred), strict=True):
        low, high = interval.loc[name]
        found = (name, fit.params[name], low, high, fit.pvalues[name], inflation, len(outcome), freedom)
        rows.append(dict(zip(COLUMNS, found, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _inflation(centred: pd.DataFrame) -> list[float]:
    """Return the variance inflation of each column, ``1 / (1 - R^2)`` of its regression on the others."""
    return np.diag(np.linalg.inv(np.atleast_2d(centred.corr().to_numpy()))).tolist()
