"""The bracket around the network's Lipschitz constant: an upper bound, a measured lower bound, the paper's product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import mark_nan, runs_with_nan
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entry, write_title
from analysis.plotting.panels.arm_curves import arm_appearances, arm_curve, band_note
from analysis.plotting.panels.curve_panels import draw_panels, set_steps
from analysis.plotting.style import INK, Appearance, Dashes
from analysis.plotting.tick_labels import short_number
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, end_together, over_runs
from probes.schema import STEP, STEPS

QUANTITY = "quantity"
UPPER, PRODUCT, LOWER = "lipschitz_bound", "unfolded_product", "jacobian_norm"
_LINES: dict[str, tuple[str, Dashes]] = {
    UPPER: ("upper bound: product of operator norms", (0, ())),
    PRODUCT: ("product of the matrices' norms: no bound", (0, (1, 1.5))),
    LOWER: ("lower bound: steepest measured at test images", (0, (5, 1.5))),
}
FORMULA = (
    r"$\max_x \sigma_1(\partial f/\partial x) \leq L \leq \prod_l \max_x |W_l * x|/|x|$,  norms folded in;"
    r"   $\prod_l \sigma_1(W_l)$"
)
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class Lipschitz(FigureSpec):
    """Upper bound, measured lower bound and the paper's product over training; one panel per norm, on one scale.

    The network's Lipschitz constant lies between the bounds. The product of the spectral norms of the unfolded matrices
    is called the Lipschitz constant in the paper. It is no bound for a network with convolutions. A network without a
    known upper bound has only the lower bound.
    """

    name = "lipschitz"
    title = "How far the network can stretch its input"
    reads = STEPS
    columns = (LOWER,)
    patterns = (UPPER, PRODUCT, LOWER)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the quantities over runs, a row for each arm, ``quantity`` and step, without those that no run has."""
        parts = []
        for column in _LINES:
            measured = rows[was_measured(rows, column)]
            if len(measured):
                parts.append(over_runs(measured, column=column, by=(STEP,)).assign(**{QUANTITY: column}))
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, the bracket shaded."""
        table = prepared.table
        appearances = arm_appearances(table)
        tables = {str(arm): table[table[ARM] == arm] for arm in arms_of(table)[ARM]}
        curves = {arm: _curves(mine, appearances[arm]) for arm, mine in tables.items()}
        grid = draw_panels(
            figure, {arm: list(by.values()) for arm, by in curves.items()}, height=2.6, log=True, level=1.0
        )
        set_steps(grid, table)
        for axes, (arm, mine) in zip(grid, tables.items(), strict=True):
            _shade(axes, curves[arm])
            mark_nan(axes, mine, runs_with_nan(mine), x=STEP, curves=list(curves[arm].values()))
        drawn = set(table[QUANTITY])
        legend = [legend_entry(words, INK, dashes) for name, (words, dashes) in _LINES.items() if name in drawn]
        note = f"{_message(table)}The Lipschitz constant lies in the shaded range"
        note += "" if UPPER in drawn else " above the line: this network has no known upper bound"
        note += "; grey: 1"
        write_title(
            figure,
            self.title,
            band_note(note, table),
            legend,
            formula=FORMULA,
            xlabel="step",
            ylabel="[logits / pixel]",
        )


def _curves(rows: pd.DataFrame, appearance: Appearance) -> dict[str, Curve]:
    by_quantity = {name: rows[rows[QUANTITY] == name] for name in _LINES}
    return {
        name: replace(arm_curve(mine, appearance), dashes=_LINES[name][1])
        for name, mine in by_quantity.items()
        if len(mine)
    }


def _shade(axes: Axes, curves: dict[str, Curve]) -> None:
    """Shade the range between the bounds at the steps that have both."""
    if UPPER not in curves:
        return
    pair = pd.concat([pd.Series(curves[name].y, index=curves[name].x) for name in (LOWER, UPPER)], axis=1, join="inner")
    axes.fill_between(  # a bound that is NaN leaves a gap
        pair.index.to_numpy("float64"), pair[0], pair[1], color=curves[UPPER].color, alpha=0.12, linewidth=0, zorder=0
    )


def _message(table: pd.DataFrame) -> str:
    """Return the bracket of each arm at its last record."""
    arms = records(arms_of(table))
    if len(arms) > MOST_NAMED or not end_together(table) or UPPER not in set(table[QUANTITY]):
        return ""
    said = []
    for arm in arms:
        mine = table[table[ARM] == arm[ARM]].sort_values(STEP).drop_duplicates(QUANTITY, keep="last")
        mine = mine.set_index(QUANTITY)[MEAN]
        if {LOWER, UPPER} <= set(mine.index[mine.notna()]):
            low, high = (short_number(mine[name]) for name in (LOWER, UPPER))
            said.append(f"{arm[ARM]} {low} to {high}")
    return f"At the end: {'; '.join(said)}. " if said else ""
