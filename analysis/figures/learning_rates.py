"""Best accuracy against the learning rate, by norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plotting.axes.limits import robust_limits
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import panels
from analysis.plotting.panels.arm_curves import EXTRA_WIDTH, arm_appearances, band_note
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.subsets import having
from analysis.summaries.transforms import MEAN, SPREAD, over_runs
from probes.schema import RUN, SPLIT, STEPS

RATE, ACCURACY = "learning_rate", "accuracy"
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class LearningRates(FigureSpec):
    """Best accuracy of each run against its learning rate, one line per norm; the rates are categories.

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
            raise ValueError(
                f"figure {self.name!r} compares learning rates, and all runs have {found[RATE].iloc[0]:g}: "
                "choose runs of two rates or more"
            )
        best = found.sort_values(ACCURACY, kind="stable", na_position="first").drop_duplicates(RUN, keep="last")
        return over_runs(best, column=ACCURACY, by=(RATE,))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel, a line with error bars for each arm. Rates are categories: no rate between them was tried."""
        table = prepared.table
        (axes,) = panels(figure, 1, height=1.8)
        rates = sorted(table[RATE].unique())
        appearances = arm_appearances(table)
        for place, (arm, (color, dashes, marker)) in enumerate(appearances.items()):
            mine = table[table[ARM] == arm].sort_values(RATE)
            width = 1.2 + EXTRA_WIDTH * (len(appearances) - 1 - place) / max(len(appearances) - 1, 1)
            axes.errorbar(
                [rates.index(rate) for rate in mine[RATE]],
                mine[MEAN],
                yerr=mine[SPREAD],
                color=color,
                linestyle=dashes,
                linewidth=width,
                marker=marker,
                markersize=5,
                capsize=3,
            )
        axes.set_xticks(range(len(rates)), labels=[f"{rate:g}" for rate in rates])
        axes.set_xlim(-0.3, len(rates) - 0.7)
        limits = robust_limits(np.concatenate([table[MEAN] - table[SPREAD], table[MEAN] + table[SPREAD]]), cut=False)
        axes.set_ylim(*(limits or (0, 1)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_xlabel("learning rate (only these were tried)")
        axes.set_ylabel(f"best {self.split} accuracy")
        note = band_note(f"{_message(table)}Best record of each run on {self.split} data", table)
        write_title(figure, self.title, note, legend_entries(appearances))


def _message(table: pd.DataFrame) -> str:
    """Return how far each arm's best accuracy falls from its best to its worst rate."""
    arms = records(arms_of(table))
    spans = [table.loc[table[ARM] == arm[ARM], MEAN] for arm in arms]
    if len(arms) > MOST_NAMED:
        return ""
    named = [f"{arm[ARM]} {100 * (span.max() - span.min()):.2f}" for arm, span in zip(arms, spans, strict=True)]
    return f"From the best to the worst rate: {', '.join(named)} points. "
