"""The loss around the weights during training: its range and gradient change along a step, and its curvature."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.plotting.tick_labels import short_number
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, over_runs
from probes.schema import STEP, STEPS

QUANTITY = "quantity"
LOSS, CHANGE = "loss_along_gradient", "gradient_change"
SMOOTHNESS, EIGENVALUE = "effective_smoothness", "hessian_top_eigenvalue"
SHIFT, COSINE = "covariate_shift_l2", "covariate_shift_cosine"
_PANELS = {
    LOSS: "range of the loss",
    CHANGE: "gradient change",
    SMOOTHNESS: "effective smoothness",
    EIGENVALUE: "Hessian eigenvalue",
    SHIFT: "shift: length",
    COSINE: "shift: cosine",
}
_COLUMNS = {LOSS: (f"{LOSS}_max", f"{LOSS}_min"), CHANGE: (f"{CHANGE}_max",)}
FORMULA = (
    r"along $w-\eta\,g$, 8 $\eta$ from 0.005 to 0.64:   $\max_\eta L-\min_\eta L$;   $\max_\eta|g_\eta-g|$;"
    r"   $\max_\eta |g_\eta-g|/(\eta|g|)$"
)
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class Landscape(FigureSpec):
    """Santurkar et al.'s measures of loss landscape and internal covariate shift; a panel per measure, a line per norm.

    Small values mean a smooth loss: the loss and its gradient change little along a gradient step. The range of the
    loss is its largest minus its smallest value over eight step lengths.
    """

    name = "landscape"
    title = "How smooth the loss is around the weights"
    reads = STEPS
    columns = (f"{LOSS}_min", f"{LOSS}_max")
    patterns = (f"{LOSS}_min", f"{CHANGE}_max", SMOOTHNESS, EIGENVALUE, SHIFT, COSINE)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the recorded measures over runs, a row for each arm, ``quantity`` and step."""
        parts = []
        for name in _PANELS:
            columns = _COLUMNS.get(name, (name,))
            measured = rows[was_measured(rows, *columns)]
            if len(measured):
                value = measured[columns[0]] - measured[columns[1]] if name == LOSS else measured[columns[0]]
                measured = measured.assign(value=value)
                parts.append(over_runs(measured, column="value", by=(STEP,)).assign(**{QUANTITY: name}))
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per measure, each on its own scale."""
        table = prepared.table
        tables = {
            words: table[table[QUANTITY] == name] for name, words in _PANELS.items() if (table[QUANTITY] == name).any()
        }
        note = f"{_smoothness(table)}Small is smooth. Each panel has its own scale"
        if {SHIFT, COSINE} & set(table[QUANTITY]):
            note += ". Covariate shift: a layer's gradient before and after the layers below it were updated"
        draw_by_quantity(figure, tables, PanelText(self.title, note, formula=FORMULA), height=1.9)


def _smoothness(table: pd.DataFrame) -> str:
    """Return the median over the records of each arm's effective smoothness, because single records vary widely."""
    measured = table[(table[QUANTITY] == SMOOTHNESS) & table[MEAN].notna()]
    arms = records(arms_of(measured))
    if not arms or len(arms) > MOST_NAMED:
        return ""
    medians = {arm[ARM]: measured.loc[measured[ARM] == arm[ARM], MEAN].median() for arm in arms}
    named = "; ".join(f"{arm} {short_number(median, digits=3)}" for arm, median in medians.items())
    return f"Effective smoothness, median over the records: {named}. "
