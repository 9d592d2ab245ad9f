"""One panel a norm, one line a layer: how the layers of one network spread out, coloured by depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.arms import ARM, ARM_ORDER
from analysis.figures.by_layer import band_note, set_steps
from analysis.figures.curves import Curve, draw_curves, extent
from analysis.figures.limits import robust_limits, set_limits
from analysis.figures.nan_marks import mark_nan, runs_with_nan
from analysis.figures.page import head, key, name_panel, panels
from analysis.layer_choice import in_depth_order
from analysis.style import Dashes, depth_colormap, depth_colors, depth_dashes
from analysis.transforms import MEAN, NAN_RUNS, SPREAD, SURVIVORS
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
        table: :func:`analysis.transforms.over_runs`, a row for each arm, layer and step.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
        log: Whether the quantity spans decades.
        level: Where to draw a line of reference, or None.
        band: Column with half the height of the band; drawn for few layers only.
        band_text: What the band is; None says what a spread over runs is.
    """
    names = in_depth_order(table)
    arms = list(table.sort_values(ARM_ORDER)[ARM].unique())
    grid = panels(figure, len(arms), height=2.3)
    looks = layer_looks(names)
    few = len(names) <= MOST_NAMED
    curves = {arm: layer_curves(table[table[ARM] == arm], looks, band=band if few else None) for arm in arms}
    limits = robust_limits(extent([c for group in curves.values() for c in group], log=log), log=log)
    for axes, arm in zip(grid, arms, strict=True):
        name_panel(axes, arm)
        if level is not None:
            axes.axhline(level, color="#9a9a9a", linewidth=0.7, zorder=1)
        draw_curves(axes, curves[arm], log=log)
        set_limits(axes, limits, curves[arm])
    set_steps(grid, table)
    mark_broken(grid, curves, table)
    figure.supxlabel("step", fontsize=8)
    figure.supylabel(ylabel, fontsize=8)
    if not few:
        depth_bar(figure, grid, names)
    note = band_note(note, table) if band_text is None or not few else f"{note}; {band_text}"
    head(figure, title, note, layer_keys(looks) if few else ())


def layer_looks(names: list[str]) -> dict[str, tuple[tuple[float, float, float, float], Dashes]]:
    """Return colour and line style of each layer: dark at the input, light at the output."""
    return dict(zip(names, zip(depth_colors(len(names)), depth_dashes(len(names)), strict=True), strict=True))


def layer_keys(looks: dict[str, tuple[tuple[float, float, float, float], Dashes]]) -> list:
    """Return the legend entries of a few layers."""
    return [key(name, color, dashes) for name, (color, dashes) in looks.items()]


def layer_curves(rows: pd.DataFrame, looks: dict, *, band: str | None) -> list[Curve]:
    """Return a curve a layer of one arm."""
    width = 1.3 if len(looks) <= MOST_NAMED else 0.7
    curves = []
    by_layer = dict(list(rows.sort_values(STEP).groupby(LAYER, observed=True)))
    for name in [name for name in looks if name in by_layer]:
        series = by_layer[name]
        color, dashes = looks[name]
        curves.append(
            Curve(
                x=series[STEP].to_numpy("float64"),
                y=series[MEAN].to_numpy("float64"),
                color=color,
                dashes=dashes,
                width=width,
                half_band=None if band is None else series[band].to_numpy("float64"),
                survivors=series[SURVIVORS].to_numpy("float64"),
            )
        )
    return curves


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
