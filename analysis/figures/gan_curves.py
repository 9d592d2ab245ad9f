"""Whole-network quantities of GAN runs over steps: what the GAN figures have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arms import ARM, arms_of
from analysis.figures.by_arm import draw_by_arm
from analysis.figures.by_layer import arm_curve, band_note, set_steps, whose_nan
from analysis.figures.curves import draw_curves, extent
from analysis.figures.limits import robust_limits, set_limits
from analysis.figures.nan_marks import mark_nan
from analysis.figures.page import head, key, name_panel, panels
from analysis.style import GREY, INK
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


def draw_networks(
    figure: Figure, table: pd.DataFrame, lines: Mapping[str, str], *, title: str, note: str, ylabel: str
) -> list[Axes]:
    """Draw a panel an arm with a line a quantity, each panel on a scale of its own.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        lines: Words by quantity, two at most: the first solid, the second dashed.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
    """
    looks = dict(zip(lines, ((INK, (0, ())), (GREY, (0, (4, 1.5)))), strict=True))
    arms = [str(arm) for arm in arms_of(table)[ARM]]
    grid = panels(figure, len(arms), height=2.4, sharey=False)
    for axes, arm in zip(grid, arms, strict=True):
        mine = table[table[ARM] == arm]
        curves = [arm_curve(mine[mine[QUANTITY] == name], *looks[name]) for name in lines]
        name_panel(axes, arm)
        draw_curves(axes, curves)
        set_limits(axes, robust_limits(extent(curves)), curves)
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves)
    set_steps(grid, table)
    figure.supxlabel("step", fontsize=8)
    figure.supylabel(ylabel, fontsize=8)
    head(figure, title, band_note(note, table), [key(words, *looks[name]) for name, words in lines.items()])
    return grid
