"""One panel per quantity of the whole network, one line per arm. Each panel may have limits of its own."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.page import PanelText, legend_entries, write_title
from analysis.plotting.panels.arm_curves import arm_appearances, arm_curves, band_note, whose_nan
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from probes.schema import STEP


def draw_by_quantity(
    figure: Figure,
    tables: Mapping[str, pd.DataFrame],
    text: PanelText,
    *,
    log: bool = False,
    sharey: bool = False,
    x: str = STEP,
    height: float = 2.6,
) -> list[Axes]:
    """Draw one panel per table, with one line and one band per arm.

    Args:
        figure: An empty figure.
        tables: :func:`analysis.summaries.transforms.over_runs` by panel title; an arm has one appearance in all of
            them.
        text: Title, note, axis labels and line of reference.
        log: Whether the quantity spans decades.
        sharey: Whether the panels have the same limits, for quantities of one unit.
        x: Column of the abscissa.
        height: Height of a row of panels, in inches.

    Returns:
        The panels, in the order of ``tables``.
    """
    together = pd.concat(tables.values(), ignore_index=True)
    appearances = arm_appearances(together)
    curves = {name: arm_curves(table, appearances, x=x) for name, table in tables.items()}
    grid = draw_panels(figure, curves, height=height, log=log, level=text.level, sharey=sharey)
    set_steps(grid, together, x=x)
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, table, whose_nan(table), x=x, curves=curves[name])
    legend = legend_entries(appearances, lone=are_lone(curves))
    note = band_note(text.note, together)
    write_title(figure, text.title, note, legend, formula=text.formula, xlabel=text.xlabel, ylabel=text.ylabel)
    return grid
