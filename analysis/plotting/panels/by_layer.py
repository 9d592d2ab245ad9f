"""One panel a layer, one line a norm: how the same layer fares under each."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.page import head, keys
from analysis.plotting.panels.arm_curves import arm_curves, arm_looks, band_note, whose_nan
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.summaries.layer_choice import in_depth_order
from probes.schema import LAYER, STEP


def draw_by_layer(
    figure: Figure, table: pd.DataFrame, *, title: str, note: str, ylabel: str, level: float | None = None
) -> None:
    """Draw a panel a layer with a line and a band an arm.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
        level: Where to draw a line of reference, or None.
    """
    looks = arm_looks(table)
    tables = {name: table[table[LAYER] == name] for name in in_depth_order(table)}
    curves = {name: arm_curves(mine, looks) for name, mine in tables.items()}
    grid = draw_panels(figure, curves, height=1.75, level=level)
    set_steps(grid, table)
    for axes, (name, mine) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves[name])
    legend = keys(looks, lone=are_lone(curves))
    head(figure, title, band_note(note, table), legend, xlabel="step", ylabel=ylabel)
