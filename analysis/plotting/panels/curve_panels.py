"""A grid of panels with curves: titles, reference lines and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plotting.axes.curves import HALF_WIDTH_OF_ONE_STEP, Curve, draw_curves
from analysis.plotting.axes.limits import limits_of, set_limits
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.style import GREY, WIDTH
from probes.schema import STEP

Curves = Mapping[str, Sequence[Curve]]


def draw_panels(
    figure: Figure,
    curves: Curves,
    *,
    height: float,
    log: bool = False,
    level: float | None = None,
    sharex: bool = True,
    sharey: bool = True,
    cut: bool = True,
) -> list[Axes]:
    """Draw a panel for each named group of curves.

    Args:
        figure: An empty figure.
        curves: The curves by panel title.
        height: Height of a row of panels, in inches.
        log: Whether the quantity spans decades.
        level: Value of the line of reference, or None. A line at 0 marks a quantity with both signs. Without it the
            limits of values that are never negative do not go below 0.
        sharex: Whether all panels have the same abscissa.
        sharey: Whether all panels have the same limits, or each its own.
        cut: Whether a few outliers may lie outside the limits, marked at the edge.

    Returns:
        The panels, in the order of ``curves``.
    """
    grid = panels(figure, len(curves), height=height, sharex=sharex, sharey=sharey)
    together = [curve for group in curves.values() for curve in group]
    for axes, (name, group) in zip(grid, curves.items(), strict=True):
        name_panel(axes, name)
        if level is not None:
            axes.axhline(level, color="#9a9a9a", linewidth=0.7, zorder=1)
        draw_curves(axes, group, log=log)
        set_limits(axes, limits_of(together if sharey else group, log=log, signed=level == 0, cut=cut), group)
        _say_if_zero(axes, group)
    return grid


def _say_if_zero(axes: Axes, curves: Sequence[Curve]) -> None:
    """Write a note where every value is 0, so that the panel does not look empty."""
    if axes.get_ylim()[0] != 0:
        return
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in curves]) if curves else np.array([])
    if len(values) and not values.any():
        axes.annotate(
            "0 at every record",
            (0.5, 0),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color=GREY,
        )


def are_lone(curves: Curves) -> bool:
    """Tell whether every curve is a single point, so that the legend must show markers and not lines."""
    return all(len(curve.x) == 1 for group in curves.values() for curve in group)


def set_steps(grid: Sequence[Axes], table: pd.DataFrame, *, x: str = STEP) -> None:
    """Give every panel the same range of steps with a small margin; a single step is in the middle."""
    first, last = float(table[x].min()), float(table[x].max())
    air = 0.02 * (last - first) or HALF_WIDTH_OF_ONE_STEP
    for axes in grid:
        axes.set_xlim(first - air, last + air)
        if first == last:
            axes.set_xticks([first], labels=[f"{first:g}"])
            axes.grid(visible=False, axis="x")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=_room(axes, last), integer=True, steps=[1, 2, 2.5, 5, 10]))


def _room(axes: Axes, last: float) -> int:
    """Return how many numbers up to ``last`` fit side by side under a panel, at most six."""
    spec = axes.get_subplotspec()
    across = spec.get_gridspec().ncols if spec is not None else 1
    letters = len(f"{last:.0f}")
    return max(2, min(6, int((WIDTH - 1.0) / across / (0.0625 * letters + 0.07))))  # inches at 7 points
