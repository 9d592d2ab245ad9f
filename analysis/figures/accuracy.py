"""Fig. 2: accuracy on test and training data over training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.arms import ARM, ARM_ORDER, NORM
from analysis.figures.by_arm import draw_by_arm
from analysis.figures.page import axis_label, definition, with_smoothing
from analysis.figures.picture import Picture, Prepared
from analysis.transforms import MEAN, over_runs, smooth
from probes.schema import RUN, SPLIT, STEP, STEPS

COLUMN = "accuracy"
MOST_NAMED = 6  # of more arms only the best of each norm is named


@dataclass(frozen=True, kw_only=True)
class Accuracy(Picture):
    """Accuracy over steps; one panel a split, one line a norm, the best value of each in the corner.

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
        """Return the accuracy over runs, a row for each arm, split and step."""
        rows = rows.sort_values(STEP, kind="stable")
        rows = rows.assign(**{COLUMN: smooth(rows, column=COLUMN, window=self.smooth, by=[RUN, SPLIT])})
        return over_runs(rows, column=COLUMN, by=(SPLIT, STEP))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a split, test data first."""
        table, column = prepared.table, prepared.columns[COLUMN]
        splits = sorted(table[SPLIT].astype(str).unique(), key=lambda name: (name != "test", name))
        grid = draw_by_arm(
            figure,
            {f"{split} data": table[table[SPLIT] == split] for split in splits},
            title=self.title,
            note=with_smoothing(definition(column), self.smooth),
            xlabel="step",
            ylabel=axis_label(column),
        )
        for axes in grid:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _write_best(grid[0], table[table[SPLIT] == splits[0]])


def _write_best(axes: Axes, table: pd.DataFrame) -> None:
    best = table.groupby([ARM_ORDER, ARM, NORM], observed=True)[MEAN].max().reset_index()
    if len(best) > MOST_NAMED:
        best = best.sort_values(MEAN).drop_duplicates(NORM, keep="last").sort_values(ARM_ORDER)
    lines = [f"{arm}  {100 * value:.2f} %" for arm, value in zip(best[ARM], best[MEAN], strict=True)]
    axes.annotate(
        "\n".join(["best", *lines[:MOST_NAMED]]),
        (0.985, 0.04),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        fontsize=7,
        bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
    )
