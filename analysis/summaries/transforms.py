"""Pure transforms of tables: drift, smoothing, mean and spread over repeated runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from probes.schema import EPOCH, LAYER, LAYER_INDEX, RUN, STEP

MEAN, SPREAD, SURVIVORS, RUNS, NAN_RUNS = "mean", "spread", "survivors", "runs", "nan_runs"
RAW = "raw"  # mean over runs of the recorded values, beside a mean of the smoothed values


def drift(table: pd.DataFrame, *, column: str = "weight_mean") -> pd.Series:
    """Return the drift of a column from its first recorded value in each run and layer.

    ``drift(t) = x(t) - x(t0)``, t0 the smallest step of that (run, layer). Same index as ``table``. NaN where the
    value or the first value is NaN: a run that starts with NaN has no drift.

    Raises:
        ValueError: ``run``, ``layer``, ``step`` or the column is missing.
    """
    require(table, [RUN, LAYER, STEP, column])
    ordered = table.sort_values(STEP, kind="stable")
    first = ordered.groupby([RUN, LAYER], observed=True)[column].transform(lambda values: values.iloc[0])
    return (table[column].astype("float64") - first.reindex(table.index).astype("float64")).rename("drift")


def smooth(table: pd.DataFrame, *, column: str, window: int, by: Sequence[str]) -> pd.Series:
    """Return the mean of each value and the ``window - 1`` records before it, within each group.

    A window with a NaN in it gives NaN. At the first records the mean is over the records so far. ``window=1`` changes
    nothing.

    Args:
        table: Rows in step order within each group.
        column: The column to smooth.
        window: Number of records, at least 1.
        by: Columns that name a series, such as run and layer.

    Raises:
        ValueError: The window is less than 1.
    """
    if window < 1:
        raise ValueError(f"smoothing window {window}: expected at least 1 record (1 leaves the values as they are)")
    if window == 1 or table.empty:
        return table[column]
    return table.groupby(list(by), observed=True, sort=False)[column].transform(_trailing_mean, window=window)


def smoothed(table: pd.DataFrame, *columns: str, window: int) -> pd.DataFrame:
    """Return a table in step order with :func:`smooth` applied to columns of each run and layer."""
    ordered = table.sort_values(STEP, kind="stable")
    return ordered.assign(**{name: smooth(ordered, column=name, window=window, by=[RUN, LAYER]) for name in columns})


def running_median(table: pd.DataFrame, *, column: str, window: int, by: Sequence[str]) -> pd.Series:
    """Return the median of each value and its neighbours within each group, same index as ``table``.

    A window has ``window // 2`` records on either side, and fewer at the ends. A window with a value that is not finite
    gives NaN. A median does not depend on whether values or their logarithms are taken. A single outlier does not move
    it.

    Args:
        table: Rows in step order within each group.
        column: The column.
        window: Number of records, odd.
        by: Columns that name a series.

    Raises:
        ValueError: The window is even or less than 1.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window of a running median {window}: expected an odd number of records, 1 or more")
    groups = table.groupby(list(by), observed=True, sort=False)[column]
    return groups.transform(_centred_median, window=window)


def _centred_median(values: pd.Series, *, window: int) -> pd.Series:
    numbers = values.astype("float64")
    broken = pd.Series(~np.isfinite(numbers), numbers.index).astype("float64")
    medians = numbers.rolling(window, center=True, min_periods=1).median()  # skips values that are not finite
    return medians.mask(broken.rolling(window, center=True, min_periods=1).max() > 0)


def block_means(table: pd.DataFrame, *, column: str, by: Sequence[str], most: int) -> tuple[pd.DataFrame, int]:
    """Return a long series as means of equal blocks of records, and the number of records in a block.

    The longest series gets at most ``most`` blocks. The other series get blocks of the same size. The last block of a
    series may be shorter. A block has the step of its last record. A block with a NaN in it is NaN. If no series has
    more than ``most`` records, the table is returned as it is, with 1.

    Args:
        table: Rows with a column ``step``.
        column: The column to average.
        by: Columns that name a series.
        most: Number of blocks of the longest series.
    """
    groups = table.sort_values(STEP, kind="stable").groupby(list(by), observed=True, sort=False)
    size = max(1, -(-int(groups.size().max()) // most)) if len(table) else 1
    if size == 1:
        return table, 1
    ordered = table.sort_values(STEP, kind="stable")
    place = groups.cumcount().loc[ordered.index] // size
    blocks = ordered.assign(_block=place).groupby([*by, "_block"], observed=True, sort=False)
    last = blocks.tail(1)
    means = blocks[column].agg(lambda values: values.to_numpy("float64").mean()).to_numpy()
    order = blocks.ngroup().loc[last.index].to_numpy()
    return last.assign(**{column: means[order]}), size


def _trailing_mean(values: pd.Series, *, window: int) -> np.ndarray:
    # A running sum, as in rolling(), would carry a NaN or a rounding error on, so each window is summed by itself.
    numbers = values.to_numpy("float64")
    padded = np.concatenate([np.zeros(window - 1), numbers])
    sums = np.lib.stride_tricks.sliding_window_view(padded, window).sum(axis=1)
    return sums / np.minimum(np.arange(1, len(numbers) + 1), window)


def over_runs(table: pd.DataFrame, *, column: str, by: Sequence[str] = (LAYER, STEP)) -> pd.DataFrame:
    """Return mean and spread over the runs of each arm, a row for each arm and each value of ``by``.

    Columns beside the keys: ``mean`` is the mean over all runs of the arm that recorded there. It is NaN if one of them
    is not finite, because divergence is a finding. ``spread`` is the standard deviation over these runs (ddof=1; 0 for
    one run). ``survivors`` is the mean over the finite runs. ``runs`` is the number of runs that recorded there,
    ``nan_runs`` the number of those that were not finite.

    Args:
        table: One row per run and value of ``by``, with the columns of :func:`analysis.summaries.comparison_arms.arms`.
        column: The measured column.
        by: Columns that the averages keep apart, besides the arm.
    """
    require(table, [RUN, ARM, *by, column])
    keys = [ARM_ORDER, ARM, NORM, *by]
    depth = [LAYER_INDEX] if LAYER in by and LAYER_INDEX in table else []
    work = table[[*keys, *depth]].copy()
    work["value"] = table[column].astype("float64")
    work["finite"] = work["value"].where(np.isfinite(work["value"]))
    groups = work.groupby(keys, observed=True, sort=True)
    result = pd.DataFrame(
        {
            SURVIVORS: groups["finite"].mean(),
            SPREAD: groups["finite"].std(ddof=1),
            RUNS: groups["value"].size(),
            NAN_RUNS: groups["value"].size() - groups["finite"].count(),
        }
    )
    whole = result[NAN_RUNS] == 0
    result[MEAN] = result[SURVIVORS].where(whole)
    result[SPREAD] = result[SPREAD].where(result[RUNS] > 1, 0.0).where(whole)
    if depth:
        result[LAYER_INDEX] = groups[LAYER_INDEX].min()
    return result.reset_index()[[*keys, *depth, MEAN, SPREAD, SURVIVORS, RUNS, NAN_RUNS]]


def compare(table: pd.DataFrame, *, by: str = "norm") -> pd.DataFrame:
    """Return each column at the end of training, averaged over layers and runs: a row for each value of ``by``.

    The last record of each run and layer counts once; ``runs`` is the number of runs. Values that are NaN in this
    record are left out of the mean, whether they were not measured or diverged. :func:`analysis.findings.findings`
    names the runs that diverged.

    Args:
        table: :func:`analysis.layers` with the setting to compare: ``analysis.with_settings(table, store, ["norm"])``.
        by: Column to compare by.

    Raises:
        ValueError: ``run``, ``layer``, ``step`` or the column to compare by is missing.
    """
    require(table, [RUN, LAYER, STEP, by])
    last = last_record(table)
    measured = [name for name in last.select_dtypes("number").columns if name not in (STEP, LAYER_INDEX, EPOCH, by)]
    groups = last.groupby(by, observed=True)
    return pd.concat([groups[RUN].nunique().rename(RUNS), groups[measured].mean()], axis="columns")


def last_record(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each run's and layer's largest step."""
    return table[table[STEP] == table.groupby([RUN, LAYER], observed=True)[STEP].transform("max")]


def last_value(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each arm's and layer's largest step, of a table of :func:`over_runs`."""
    return table[table[STEP] == table.groupby([ARM, LAYER], observed=True)[STEP].transform("max")]


def end_together(table: pd.DataFrame) -> bool:
    """Tell whether all arms have their last record at the same step: only then their ends can be compared."""
    return table.groupby(ARM, observed=True)[STEP].max().nunique() <= 1


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise if a table lacks one of the columns.

    Raises:
        ValueError: A column is missing; the message lists the missing columns and the existing ones.
    """
    missing = [column for column in dict.fromkeys(columns) if column not in table]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}; it has: {', '.join(map(str, table.columns))}")
