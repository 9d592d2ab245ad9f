"""Fig. 2: accuracy on test and training data over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plotting.axes.corner_note import write_in_corner
from analysis.plotting.column_words import axis_label, definition, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.transforms import MEAN, block_means, over_runs, smooth
from probes.schema import RUN, SPLIT, STEP, STEPS

COLUMN = "accuracy"
MOST_RECORDS = 200  # a line
MOST_NAMED = 6  # of more arms only the best of each norm is named


@dataclass(frozen=True, kw_only=True)
class Accuracy(FigureSpec):
    """Accuracy over steps; one panel per split, one line per norm, the best value of each in the corner.

    The accuracy of single batches is noisy. A split of more than 200 records is drawn as means of blocks of records;
    the title of its panel gives their size.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 1
    name = "accuracy"
    title = "Accuracy during training"
    reads = STEPS
    columns = (COLUMN,)
    paper = "Fig. 2"
    across_models = True

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the accuracy over runs, a row for each arm, split and step; ``block`` is the records in each mean."""
        rows = rows.sort_values(STEP, kind="stable")
        rows = rows.assign(**{COLUMN: smooth(rows, column=COLUMN, window=self.smooth, by=[RUN, SPLIT])})
        parts = []
        for split in _in_order(rows):
            of_split, size = block_means(rows[rows[SPLIT] == split], column=COLUMN, by=[RUN], most=MOST_RECORDS)
            parts.append(over_runs(of_split, column=COLUMN, by=(SPLIT, STEP)).assign(block=size))
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per split, test data first."""
        table, column = prepared.table, prepared.columns[COLUMN]
        splits = _in_order(table)
        grid = draw_by_quantity(
            figure,
            {_title(table[table[SPLIT] == split]): table[table[SPLIT] == split] for split in splits},
            PanelText(self.title, with_smoothing(definition(column), self.smooth), axis_label(column)),
        )
        for axes in grid:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _write_best(grid[0], table[table[SPLIT] == splits[0]])


def _in_order(table: pd.DataFrame) -> list[str]:
    """Return the splits, test data first."""
    return sorted(table[SPLIT].astype(str).unique(), key=lambda name: (name != "test", name))


def _title(rows: pd.DataFrame) -> str:
    size = int(rows["block"].iloc[0])
    return f"{rows[SPLIT].iloc[0]} data" + (f", means of {size} records" if size > 1 else "")


def _write_best(axes: Axes, table: pd.DataFrame) -> None:
    best = table.groupby([ARM_ORDER, ARM, NORM], observed=True)[MEAN].max().reset_index()
    if len(best) > MOST_NAMED:
        best = best.sort_values(MEAN).drop_duplicates(NORM, keep="last").sort_values(ARM_ORDER)
    lines = [f"{arm}  {100 * value:.2f} %" for arm, value in zip(best[ARM], best[MEAN], strict=True)]
    write_in_corner(axes, ["best", *lines[:MOST_NAMED]])
