"""One heat map per arm, layer by step, all on one scale of colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plotting.axes.cells import color_scale, draw_cells, name_rows, step_edges
from analysis.plotting.column_words import axis_label, mathtext, meaning, sentence
from analysis.plotting.page import PanelText, color_bar, legend_entry, write_title
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.curve_panels import set_steps
from analysis.plotting.style import ALARM
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.layer_choice import in_depth_order
from analysis.summaries.transforms import MEAN, NAN_RUNS
from probes.schema import STEP, Column


def column_text(title: str, column: Column, shown: str) -> PanelText:
    """Return the words of a heat map whose colours are a column; ``shown`` names the part of it that is drawn."""
    note = f"{sentence(meaning(column))}, {shown}"
    return PanelText(f"{title}: {axis_label(column)}", note, axis_label(column), formula=mathtext(column))


def draw_heat_maps(
    figure: Figure, table: pd.DataFrame, text: PanelText, *, own_layers: bool = False, signed: bool = False
) -> None:
    """Draw one panel per arm, input at the top.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        text: Title, note and axis labels; ``ylabel`` names the colours.
        own_layers: Whether each arm has layers of its own; its rows are then in depth order.
        signed: Whether zero is the middle of the scale and the scale is linear.
    """
    arms = [arm[ARM] for arm in records(arms_of(table))]
    grid = panels(figure, len(arms), height=2.4)
    colors, colormap = color_scale(table[MEAN].to_numpy(), signed=signed)
    everywhere = in_depth_order(table)
    for axes, arm in zip(grid, arms, strict=True):
        mine = table[table[ARM] == arm]
        names = in_depth_order(mine) if own_layers else everywhere
        name_panel(axes, arm)
        mesh = draw_cells(axes, mine, names, colors, colormap)
        if axes is grid[0] or not own_layers:
            name_rows(axes, [f"{place + 1}" for place in range(len(names))] if own_layers else names)
    set_cell_steps(grid, table)
    beyond = np.nanmax(np.abs(table[MEAN].replace([np.inf, -np.inf], np.nan))) if table[MEAN].notna().any() else 0.0
    extend = "both" if isinstance(colors, TwoSlopeNorm) and beyond > float(colors.vmax or 0.0) else "neither"
    color_bar(figure, mesh, grid, text.ylabel, extend=extend)
    broken = table[NAN_RUNS].gt(0).any()
    legend = [legend_entry("NaN in at least one run", ALARM, "", marker="s", markersize=6)] if broken else []
    note = band_note(text.note, table, band=False)
    label = "layer, from the input down" if own_layers else ""
    write_title(figure, text.title, note, legend, formula=text.formula, xlabel=text.xlabel, ylabel=label)


def set_cell_steps(grid: Sequence[Axes], table: pd.DataFrame) -> None:
    """Give every panel of cells the same range of steps, from the first record to the last."""
    set_steps(grid, table)
    edges = step_edges(np.sort(table[STEP].unique()).astype("float64"))
    for axes in grid:
        axes.set_xlim(edges[0], edges[-1])
        if len(edges) > 2:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=True, steps=[1, 2, 2.5, 5, 10]))
