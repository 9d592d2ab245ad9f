"""Accuracy against wall-clock time."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plotting.axes.corner_note import write_in_corner
from analysis.plotting.column_words import axis_label
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.subsets import having
from analysis.summaries.transforms import over_runs
from probes.schema import SPLIT, STEP, STEPS

ACCURACY, SECONDS = "accuracy", "seconds"


@dataclass(frozen=True, kw_only=True)
class AccuracyTime(FigureSpec):
    """Accuracy against the seconds a run has taken, one line per norm; each step's time is the mean over its runs.

    Attributes:
        split: ``"test"`` or ``"train"``.
    """

    split: str = "test"
    name = "accuracy_time"
    title = "Accuracy against wall-clock time"
    reads = STEPS
    columns = (ACCURACY, SECONDS)
    across_models = True

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the accuracy over runs, a row for each arm and step, with ``seconds`` averaged over runs.

        Raises:
            ValueError: No accuracy on that split.
        """
        found = having(rows, SPLIT, self.split, what="accuracy on split")
        table = over_runs(found, column=ACCURACY, by=(STEP,))
        return table.assign(seconds=found.groupby([ARM_ORDER, ARM, NORM, STEP])[SECONDS].mean().to_numpy())

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel, with the time per step of each arm in its corner."""
        table, columns = prepared.table, prepared.columns
        (axes,) = draw_by_quantity(
            figure,
            {f"{self.split} data": table},
            PanelText(
                self.title,
                "time includes evaluation and probes; compare runs of one machine only",
                axis_label(columns[ACCURACY]),
                f"wall-clock time [{columns[SECONDS].unit}]",
            ),
            x=SECONDS,
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        write_in_corner(axes, _paces(table))


def _paces(table: pd.DataFrame) -> list[str]:
    """Return the time per step of each arm that has made a step, with its share of BN's time if there is one BN arm."""
    last = table.sort_values(STEP).groupby([ARM_ORDER, ARM, NORM], observed=True).last().reset_index()
    last = last[(last[STEP] > 0) & (last[SECONDS] > 0)]
    pace = last[SECONDS] / last[STEP]
    base = pace[last[NORM] == "bn"]
    shares = [f"  ({p / base.iloc[0]:.2f} of BN)" if len(base) == 1 else "" for p in pace]
    lines = [f"{arm}  {1000 * p:.3g} ms{share}" for arm, p, share in zip(last[ARM], pace, shares, strict=True)]
    return ["time a step", *lines] if lines else []
