"""Best accuracy against the learning rate, by norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from analysis.plotting.axes.limits import robust_limits
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import panels
from analysis.plotting.panels.arm_curves import arm_appearances, band_note
from analysis.summaries.comparison_arms import ARM
from analysis.summaries.subsets import having
from analysis.summaries.transforms import MEAN, SPREAD, over_runs
from probes.schema import RUN, SPLIT, STEPS

RATE, ACCURACY = "learning_rate", "accuracy"


@dataclass(frozen=True, kw_only=True)
class LearningRates(FigureSpec):
    """Best accuracy of each run against its learning rate, one line per norm.

    Attributes:
        split: ``"test"`` or ``"train"``.
    """

    split: str = "test"
    name = "learning_rates"
    title = "Best accuracy over learning rates"
    reads = STEPS
    columns = (ACCURACY,)
    settings = (RATE,)
    across_models = True

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the best accuracy over runs, a row for each arm and learning rate.

        Raises:
            ValueError: No accuracy on that split, a learning rate that is no number, or one rate in all runs.
        """
        found = having(rows, SPLIT, self.split, what="accuracy on split")
        if not_numbers := [rate for rate in found[RATE].unique() if isinstance(rate, str)]:
            raise ValueError(f"figure {self.name!r} needs one number as {RATE} of each run, not {not_numbers[0]!r}")
        if found[RATE].nunique() < 2:
            raise ValueError(f"figure {self.name!r} compares learning rates; all runs have {found[RATE].iloc[0]:g}")
        best = found.sort_values(ACCURACY, kind="stable", na_position="first").drop_duplicates(RUN, keep="last")
        return over_runs(best, column=ACCURACY, by=(RATE,))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel with a line and error bars an arm."""
        table = prepared.table
        (axes,) = panels(figure, 1, height=2.0)
        rates = sorted(table[RATE].unique())
        appearances = arm_appearances(table)
        for place, (arm, (color, dashes, marker)) in enumerate(appearances.items()):
            mine = table[table[ARM] == arm].sort_values(RATE)
            aside = 10 ** (0.03 * (place - (len(appearances) - 1) / 2))  # beside each other, not over each other
            x = mine[RATE].to_numpy("float64") * aside
            axes.errorbar(
                x, mine[MEAN], yerr=mine[SPREAD], color=color, linestyle=dashes, marker=marker, markersize=4, capsize=2
            )
        axes.set_xscale("log")
        axes.set_xticks(rates, labels=[f"{rate:g}" for rate in rates])
        axes.xaxis.set_minor_locator(NullLocator())
        limits = robust_limits(np.concatenate([table[MEAN] - table[SPREAD], table[MEAN] + table[SPREAD]]))
        axes.set_ylim(*(limits or (0, 1)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("learning rate")
        axes.set_ylabel(f"best {self.split} accuracy")
        note = band_note(f"best record of each run on {self.split} data", table)
        write_title(figure, self.title, note, legend_entries(appearances))
