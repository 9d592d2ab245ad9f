"""Named panels with one line a norm, each with limits of its own: for whole-network quantities."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arms import ARM
from analysis.figures.by_layer import arm_curve, arm_keys, arm_looks, band_note, set_steps, whose_nan
from analysis.figures.curves import draw_curves, extent
from analysis.figures.limits import robust_limits, set_limits
from analysis.figures.nan_marks import mark_nan
from analysis.figures.page import head, name_panel, panels
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
    x: str = STEP,
) -> list[Axes]:
    """Draw a panel a table with a line and a band an arm.

    Args:
        figure: An empty figure.
        tables: :func:`analysis.transforms.over_runs` by panel title; all panels share the looks of the arms.
        title: What is shown.
        note: How it was computed.
        xlabel: Abscissa and unit.
        ylabel: Quantity and unit; empty if each panel's title says it.
        log: Whether the quantity spans decades.
        x: Column of the abscissa.

    Returns:
        The panels, in the order of ``tables``.
    """
    together = pd.concat(tables.values(), ignore_index=True)
    looks = arm_looks(together)
    grid = panels(figure, len(tables), height=2.6, sharey=False)
    drawn = {}
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        name_panel(axes, name)
        present = [arm for arm in looks if (table[ARM] == arm).any()]
        curves = [arm_curve(table[table[ARM] == arm], *looks[arm], x=x) for arm in present]
        drawn[name] = curves
        draw_curves(axes, curves, log=log)
        set_limits(axes, robust_limits(extent(curves, log=log), log=log), curves)
    set_steps(grid, together, x=x)
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, table, whose_nan(table), x=x, curves=drawn[name])
    figure.supxlabel(xlabel, fontsize=8)
    figure.supylabel(ylabel, fontsize=8)
    head(figure, title, band_note(note, together), arm_keys(together))
    return grid
