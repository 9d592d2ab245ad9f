"""Named panels with one line a norm, each with limits of its own: for whole-network quantities."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.page import head, keys
from analysis.plotting.panels.arm_curves import arm_curves, arm_looks, band_note, whose_nan
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from probes.schema import STEP


def draw_by_arm(
    figure: Figure,
    tables: Mapping[str, pd.DataFrame],
    *,
    title: str,
    note: str,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    level: float | None = None,
    sharey: bool = False,
    x: str = STEP,
) -> list[Axes]:
    """Draw a panel a table with a line and a band an arm.

    Args:
        figure: An empty figure.
        tables: :func:`analysis.summaries.transforms.over_runs` by panel title; all panels share the looks of the arms.
        title: What is shown.
        note: How it was computed.
        xlabel: Abscissa and unit.
        ylabel: Quantity and unit; empty if each panel's title says it.
        log: Whether the quantity spans decades.
        level: Where to draw a line of reference, or None.
        sharey: Whether the panels compare: one quantity, one unit.
        x: Column of the abscissa.

    Returns:
        The panels, in the order of ``tables``.
    """
    together = pd.concat(tables.values(), ignore_index=True)
    looks = arm_looks(together)
    curves = {name: arm_curves(table, looks, x=x) for name, table in tables.items()}
    grid = draw_panels(figure, curves, height=2.6, log=log, level=level, sharey=sharey)
    set_steps(grid, together, x=x)
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, table, whose_nan(table), x=x, curves=curves[name])
    legend = keys(looks, lone=are_lone(curves))
    head(figure, title, band_note(note, together), legend, xlabel=xlabel, ylabel=ylabel)
    return grid
