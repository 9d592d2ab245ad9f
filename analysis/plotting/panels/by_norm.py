"""One panel a norm, one line a layer: how the layers of one network spread out, coloured by depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import mark_nan, runs_with_nan
from analysis.plotting.page import head, keys
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.plotting.style import Look, depth_colormap, depth_colors, depth_dashes, marker
from analysis.summaries.arms import ARM, ARM_ORDER
from analysis.summaries.layer_choice import in_depth_order
from analysis.summaries.transforms import MEAN, NAN_RUNS, SPREAD, SURVIVORS
from probes.schema import LAYER, STEP

MOST_NAMED = 8  # more layers than these are told apart by a colour bar


def draw_by_norm(
    figure: Figure,
    table: pd.DataFrame,
    *,
    title: str,
    note: str,
    ylabel: str,
    log: bool = False,
    level: float | None = None,
    band: str = SPREAD,
    band_text: str | None = None,
) -> None:
    """Draw a panel an arm with a line a layer.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
        log: Whether the quantity spans decades.
        level: Where to draw a line of reference, or None.
        band: Column with half the height of the band; drawn for few layers only.
        band_text: What the band is; None says what a spread over runs is.
    """
    names = in_depth_order(table)
    few = len(names) <= MOST_NAMED
    looks = layer_looks(names)
    arms = list(table.sort_values(ARM_ORDER)[ARM].unique())
    curves = {arm: layer_curves(table[table[ARM] == arm], looks, band=band if few else None) for arm in arms}
    grid = draw_panels(figure, curves, height=2.3, log=log, level=level)
    set_steps(grid, table)
    mark_broken(grid, curves, table)
    if not few:
        depth_bar(figure, grid, names)
    note = band_note(note, table, band=few) if band_text is None or not few else f"{note}; {band_text}"
    legend = keys(looks, lone=are_lone(curves)) if few else ()
    head(figure, title, note, legend, xlabel="step", ylabel=ylabel)


def layer_looks(names: list[str]) -> dict[str, Look]:
    """Return the look of each layer: dark at the input, light at the output."""
    each = zip(depth_colors(len(names)), depth_dashes(len(names)), map(marker, range(len(names))), strict=True)
    return {name: Look(*parts) for name, parts in zip(names, each, strict=True)}


def layer_curves(rows: pd.DataFrame, looks: dict[str, Look], *, band: str | None) -> list[Curve]:
    """Return a curve a layer of one arm."""
    width = 1.3 if len(looks) <= MOST_NAMED else 0.7
    by_layer = dict(list(rows.sort_values(STEP).groupby(LAYER, observed=True)))
    return [
        Curve(
            x=by_layer[name][STEP].to_numpy("float64"),
            y=by_layer[name][MEAN].to_numpy("float64"),
            color=look.color,
            dashes=look.dashes,
            width=width,
            marker=look.marker,
            half_band=None if band is None else by_layer[name][band].to_numpy("float64"),
            survivors=by_layer[name][SURVIVORS].to_numpy("float64"),
        )
        for name, look in looks.items()
        if name in by_layer
    ]


def mark_broken(grid: list[Axes], curves: dict[str, list[Curve]], table: pd.DataFrame) -> None:
    """Mark in each arm's panel the steps at which a layer was not finite, and in how many layers."""
    for axes, (arm, drawn) in zip(grid, curves.items(), strict=True):
        mine = table[table[ARM] == arm]
        layers = f"{mine.loc[mine[NAN_RUNS] > 0, LAYER].nunique()} of {mine[LAYER].nunique()} layers"
        mark_nan(axes, mine, f"{runs_with_nan(mine)}\n{layers}", x=STEP, curves=drawn)


def depth_bar(figure: Figure, grid: list[Axes], names: list[str]) -> None:
    """Add a slim colour bar that names five layers from input to output."""
    places = np.unique(np.linspace(0, len(names) - 1, 5).round().astype(int))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, len(names) - 1), depth_colormap()), ax=grid, aspect=35, pad=0.015, fraction=0.03
    )
    bar.set_ticks(list(places), labels=[names[place] for place in places])
    bar.ax.tick_params(length=0, labelsize=6.5)
    bar.ax.set_title("depth", fontsize=7, fontweight="normal", pad=9)
    bar.outline.set_visible(False)
