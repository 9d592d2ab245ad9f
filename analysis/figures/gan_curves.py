"""Whole-network quantities of GAN runs over steps: what the GAN figures have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.by_arm import draw_by_arm
from analysis.transforms import over_runs, smooth
from probes.schema import RUN, STEP

QUANTITY = "quantity"


def by_quantity(rows: pd.DataFrame, columns: Sequence[str], *, window: int = 1) -> pd.DataFrame:
    """Return columns over the runs of each arm: a row for each quantity, arm and step.

    Args:
        rows: Rows of table ``steps`` with the columns measured.
        columns: Quantities.
        window: Records of a trailing mean; 1 smooths nothing.
    """
    rows = rows.sort_values(STEP, kind="stable")
    parts = []
    for column in columns:
        smoothed = rows.assign(**{column: smooth(rows, column=column, window=window, by=[RUN])})
        parts.append(over_runs(smoothed, column=column, by=(STEP,)).assign(**{QUANTITY: column}))
    return pd.concat(parts, ignore_index=True)


def draw_quantities(
    figure: Figure,
    table: pd.DataFrame,
    panels: Mapping[str, str],
    *,
    title: str,
    note: str,
    ylabel: str = "",
    log: bool = False,
    level: float | None = None,
) -> list[Axes]:
    """Draw a panel a quantity with a line an arm.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        panels: Panel title by quantity.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit; empty if each panel's title says it.
        log: Whether the quantities span decades.
        level: Where to draw a line of reference, or None.
    """
    tables = {words: table[table[QUANTITY] == quantity] for quantity, words in panels.items()}
    grid = draw_by_arm(figure, tables, title=title, note=note, xlabel="step", ylabel=ylabel, log=log)
    if level is not None:
        for axes in grid:
            axes.axhline(level, color="#9a9a9a", linewidth=0.7, zorder=1)
    return grid
