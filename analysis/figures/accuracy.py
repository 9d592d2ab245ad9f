"""Fig. 2: accuracy on test and training data over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plotting.column_words import axis_label, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.transforms import RUNS, block_means, over_runs, smooth
from probes.schema import RUN, SPLIT, STEP, STEPS

COLUMN = "accuracy"
BEST, BEST_SPREAD = "best", "best_spread"
MOST_RECORDS = 200  # per line
MOST_NAMED = 6  # arms in the message; of more, only the best arm of each norm is named


@dataclass(frozen=True, kw_only=True)
class Accuracy(FigureSpec):
    """Accuracy over steps; one panel per split, one line per norm. The message names the best accuracy of each.

    The best accuracy of an arm is the mean of its runs' best records. It is not the best record of the runs' mean. The
    accuracy of single batches is noisy. A split of more than 200 records is drawn as means of blocks of records; the
    title of its panel gives the size of the blocks.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    smooth: int = 1
    name = "accuracy"
    title = "Accuracy during training"
    reads = STEPS
    columns = (COLUMN,)
    paper = "Fig. 2"
    across_models = True

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the accuracy over runs, a row for each arm, split and step.

        ``block`` is the number of records in each mean. ``best`` and ``best_spread`` are mean and standard deviation
        over the runs of each run's best record of the split, as recorded.
        """
        rows = rows.sort_values(STEP, kind="stable")
        best = _best(rows)
        rows = rows.assign(**{COLUMN: smooth(rows, column=COLUMN, window=self.smooth, by=[RUN, SPLIT])})
        parts = []
        for split in _in_order(rows):
            of_split, size = block_means(rows[rows[SPLIT] == split], column=COLUMN, by=[RUN], most=MOST_RECORDS)
            parts.append(over_runs(of_split, column=COLUMN, by=(SPLIT, STEP)).assign(block=size))
        return pd.concat(parts, ignore_index=True).merge(best, on=[ARM, SPLIT], how="left")

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per split, test data first."""
        table, column = prepared.table, prepared.columns[COLUMN]
        splits = _in_order(table)
        grid = draw_by_quantity(
            figure,
            {_title(table[table[SPLIT] == split]): table[table[SPLIT] == split] for split in splits},
            PanelText(
                self.title, with_smoothing(_message(table[table[SPLIT] == splits[0]]), self.smooth), axis_label(column)
            ),
        )
        for axes in grid:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    by_run = rows.groupby([ARM, RUN, SPLIT], observed=True)[COLUMN].max().reset_index()
    arms = by_run.groupby([ARM, SPLIT], observed=True)[COLUMN]
    mean = arms.agg(lambda best: best.to_numpy().mean())  # a run with NaN alone has no best record, nor has its arm
    return pd.DataFrame({BEST: mean, BEST_SPREAD: arms.std(ddof=1).fillna(0.0)}).reset_index()


def _in_order(table: pd.DataFrame) -> list[str]:
    """Return the splits, test data first."""
    return sorted(table[SPLIT].astype(str).unique(), key=lambda name: (name != "test", name))


def _title(rows: pd.DataFrame) -> str:
    size = int(rows["block"].iloc[0])
    return f"{rows[SPLIT].iloc[0]} data" + (f", means of {size} records" if size > 1 else "")


def _message(table: pd.DataFrame) -> str:
    """Return the best accuracy of each arm, with the deviation over its runs where it has several."""
    best = table.groupby([ARM_ORDER, ARM, NORM], observed=True)[[BEST, BEST_SPREAD, RUNS]].max().reset_index()
    if len(best) > MOST_NAMED:
        best = best.sort_values(BEST).drop_duplicates(NORM, keep="last").sort_values(ARM_ORDER)
    named = [
        f"{row[ARM]} {100 * row[BEST]:.2f}" + (f" ± {100 * row[BEST_SPREAD]:.2f}" if row[RUNS] > 1 else "") + " %"
        for row in records(best.head(MOST_NAMED))
    ]
    return f"Best {table[SPLIT].iloc[0]} record of a run: {', '.join(named)}"
