"""One panel per layer, one line per arm: the same layer under each norm."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.page import PanelText, legend_entries, write_title
from analysis.plotting.panels.arm_curves import arm_appearances, arm_curves, band_note, whose_nan
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.summaries.layer_choice import in_depth_order
from probes.schema import LAYER, STEP


def draw_by_layer(figure: Figure, table: pd.DataFrame, text: PanelText, *, sharey: bool = True) -> None:
    """Draw one panel per layer, with one line and one band per arm.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        text: Title, note, axis labels and line of reference.
        sharey: Whether all layers have one scale; else each has its own, because one layer may be far larger than the
            others.
    """
    appearances = arm_appearances(table)
    tables = {name: table[table[LAYER] == name] for name in in_depth_order(table)}
    curves = {name: arm_curves(mine, appearances) for name, mine in tables.items()}
    grid = draw_panels(figure, curves, height=1.75, level=text.level, sharey=sharey)
    set_steps(grid, table)
    for axes, (name, mine) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves[name])
    legend = legend_entries(appearances, lone=are_lone(curves))
    note = band_note(text.note, table)
    write_title(figure, text.title, note, legend, formula=text.formula, xlabel=text.xlabel, ylabel=text.ylabel)
