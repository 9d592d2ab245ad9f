"""Spectral complexity (Eq. 4) and the bound of Theorem 1 over training, beside the test error that it bounds."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, end_together, over_runs
from probes.schema import STEP, STEPS

QUANTITY = "quantity"
COMPLEXITY, BOUND, ERROR = "spectral_complexity", "margin_bound", "test_error"
_PANELS = {COMPLEXITY: "spectral complexity R", BOUND: "bound of Theorem 1", ERROR: "measured test error"}
FORMULA = (
    r"$R = \prod_k \sigma_k\;(\;\sum_k (|W_k^T-M_k^T|_{2,1}/\sigma_k)^{2/3})^{3/2}$;"
    r"   bound: $\ell_\gamma + |X|_F R \ln W/(\gamma n) + (\ln 20/n)^{1/2}$"
)
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class Complexity(FigureSpec):
    """Spectral complexity, the bound of the test error that follows from it, and the test error; one line per norm.

    Complexity and bound are those of the network with its norms folded, relative to its first weights. A network that
    is no chain of layers after folding has neither. It is refused with the reason that its runs have recorded.
    """

    name = "complexity"
    title = "Spectral complexity and the bound of Theorem 1"
    reads = STEPS
    columns = (COMPLEXITY,)
    patterns = (COMPLEXITY, BOUND, "accuracy")

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the quantities over runs, a row for each arm, ``quantity`` and step, without those that no run has."""
        if "accuracy" in rows:
            rows = rows.assign(**{ERROR: 1 - rows["accuracy"].astype("float64")})
        of = {COMPLEXITY: COMPLEXITY, BOUND: BOUND, ERROR: "accuracy"}
        parts = []
        for quantity, column in of.items():
            measured = rows[was_measured(rows, column)]
            if len(measured):
                parts.append(over_runs(measured, column=quantity, by=(STEP,)).assign(**{QUANTITY: quantity}))
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per quantity, each on its own scale."""
        table = prepared.table
        tables = {
            words: table[table[QUANTITY] == name] for name, words in _PANELS.items() if name in set(table[QUANTITY])
        }
        note = f"{_ranking(table)}{_vacuous(table)}Norms folded in; distances from the first weights"
        draw_by_quantity(figure, tables, PanelText(self.title, note, formula=FORMULA), log=True)


def _ranking(table: pd.DataFrame) -> str:
    """Return the arms from the smallest to the largest, by complexity and by test error, at the end."""
    if len(arms_of(table)) > MOST_NAMED or len(arms_of(table)) < 2 or not end_together(table):
        return ""
    last = table[table[STEP] == table[STEP].max()]
    orders = {name: last[last[QUANTITY] == name].sort_values(MEAN, kind="stable") for name in (COMPLEXITY, ERROR)}
    if any(order.empty or order[MEAN].isna().any() for order in orders.values()):
        return ""
    complexity, error = (" < ".join(f"{row[ARM]}" for row in records(order)) for order in orders.values())
    return f"At the end, complexity: {complexity}; test error: {error}. "


def _vacuous(table: pd.DataFrame) -> str:
    """Return a note if the bound exceeds 1, the largest possible test error, at every record; else an empty text."""
    bounds = table.loc[table[QUANTITY] == BOUND, MEAN]
    return (
        "The bound is above 1 throughout: it orders, it does not predict. "
        if len(bounds) and (bounds > 1).all()
        else ""
    )
