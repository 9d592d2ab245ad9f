"""One panel per arm, one line per layer, coloured by depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import mark_nan, runs_with_nan
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.plotting.panels.panel_text import PanelText
from analysis.plotting.style import Appearance, depth_colormap, depth_colors, depth_dashes, marker
from analysis.summaries.comparison_arms import ARM, ARM_ORDER
from analysis.summaries.layer_choice import in_depth_order
from analysis.summaries.transforms import MEAN, NAN_RUNS, SPREAD, SURVIVORS
from probes.schema import LAYER, STEP

MOST_NAMED = 8  # more layers than these have a colour bar in place of a legend


def draw_by_norm(
    figure: Figure,
    table: pd.DataFrame,
    text: PanelText,
    *,
    log: bool = False,
    band: str = SPREAD,
    band_text: str | None = None,
) -> None:
    """Draw one panel per arm, with one line per layer.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        text: Title, note, axis labels and line of reference.
        log: Whether the quantity spans decades.
        band: Column with half the height of the band; drawn for few layers only.
        band_text: Meaning of the band; None is the spread over runs.
    """
    names = in_depth_order(table)
    few = len(names) <= MOST_NAMED
    appearances = layer_appearances(names)
    arms = list(table.sort_values(ARM_ORDER)[ARM].unique())
    curves = {arm: layer_curves(table[table[ARM] == arm], appearances, band=band if few else None) for arm in arms}
    grid = draw_panels(figure, curves, height=2.3, log=log, level=text.level)
    set_steps(grid, table)
    mark_broken(grid, curves, table)
    if not few:
        depth_bar(figure, grid, names)
    own_band = band_text is not None and few
    note = f"{text.note}; {band_text}" if own_band else band_note(text.note, table, band=few)
    legend = legend_entries(appearances, lone=are_lone(curves)) if few else ()
    write_title(figure, text.title, note, legend, xlabel=text.xlabel, ylabel=text.ylabel)


def layer_appearances(names: list[str]) -> dict[str, Appearance]:
    """Return the appearance of each layer: dark at the input, light at the output."""
    each = zip(depth_colors(len(names)), depth_dashes(len(names)), map(marker, range(len(names))), strict=True)
    return {name: Appearance(*parts) for name, parts in zip(names, each, strict=True)}


def layer_curves(rows: pd.DataFrame, appearances: dict[str, Appearance], *, band: str | None) -> list[Curve]:
    """Return one curve per layer of one arm."""
    width = 1.3 if len(appearances) <= MOST_NAMED else 0.7
    by_layer = dict(list(rows.sort_values(STEP).groupby(LAYER, observed=True)))
    return [
        Curve(
            x=by_layer[name][STEP].to_numpy("float64"),
            y=by_layer[name][MEAN].to_numpy("float64"),
            color=appearance.color,
            dashes=appearance.dashes,
            width=width,
            marker=appearance.marker,
            half_band=None if band is None else by_layer[name][band].to_numpy("float64"),
            survivors=by_layer[name][SURVIVORS].to_numpy("float64"),
        )
        for name, appearance in appearances.items()
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
