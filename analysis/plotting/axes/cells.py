"""Cells of a heat map over depth and time: their edges, their colours, and the marks on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, SymLogNorm, TwoSlopeNorm

from analysis.plotting.style import ALARM, PALE
from analysis.summaries.transforms import MEAN, NAN_RUNS
from probes.schema import LAYER, STEP

FEW_NAMES = 16  # most layers whose names are all written beside the cells
SPAN = 3.0  # ratio of the largest to the smallest value from which on a positive quantity has a logarithmic scale
OWNED = 5.0  # ratio of the largest to the median magnitude above which a signed scale is logarithmic beyond the median


def color_scale(values: np.ndarray, *, signed: bool = False) -> tuple[Normalize, str | Colormap]:
    """Return the colour scale of values, such that no single layer determines it.

    A quantity with both signs has two hues around zero and the same width on both sides. Beyond its median magnitude
    the scale is logarithmic if the largest magnitude is more than five times the median. A positive quantity that spans
    more than a factor of three has a logarithmic scale. Half a per cent at either end lies beyond the scale.

    Args:
        values: Values of all panels.
        signed: Whether zero is the middle for any signs, and the scale is linear; one per cent of the values lies
            beyond it.
    """
    finite = values[np.isfinite(values)].astype("float64")
    if signed:
        half_width = float(np.percentile(np.abs(finite), 99)) if finite.size else 0.0
        return TwoSlopeNorm(0, -(half_width or 1.0), half_width or 1.0), diverging()
    if not finite.size:
        return Normalize(0, 1), "viridis"
    low, high = (float(q) for q in np.percentile(finite, [0.5, 99.5]))
    if low < 0 < high:
        return _two_hues(finite, max(-low, high)), diverging()
    if finite.min() > 0 and high > SPAN * low:
        return LogNorm(low, high), "viridis"
    return Normalize(low, high if high > low else low + 1), "viridis" if high > 0 else "viridis_r"


def diverging() -> Colormap:
    """Return the colours of signed quantities: blue below zero, red above, white at zero."""
    return sns.color_palette("vlag", as_cmap=True)


def _two_hues(finite: np.ndarray, half_width: float) -> Normalize:
    middle = float(np.median(np.abs(finite)))
    if 0 < OWNED * middle < half_width:
        return SymLogNorm(middle, vmin=-half_width, vmax=half_width, base=10)
    return TwoSlopeNorm(0, -half_width, half_width)


def step_edges(steps: np.ndarray) -> np.ndarray:
    """Return the edges of cells around ascending steps: half-way to the neighbours, the records themselves at the ends.

    Nothing lies beyond the first and the last record. A single step has a cell that is one step wide.
    """
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    return np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])


def draw_cells(
    axes: Axes, rows: pd.DataFrame, names: list[str], colors: Normalize, colormap: str | Colormap
) -> QuadMesh:
    """Draw one arm's cells, input at the top; cells that were not finite in a run are red and hatched.

    Args:
        axes: The panel.
        rows: :func:`analysis.summaries.transforms.over_runs` of the arm, a row for each layer and step.
        names: The layers, from input to output.
        colors: Scale from :func:`color_scale`.
        colormap: Colours from :func:`color_scale`.
    """
    values = rows.pivot(index=LAYER, columns=STEP, values=MEAN).reindex(names)
    broken = rows.pivot(index=LAYER, columns=STEP, values=NAN_RUNS).reindex(names).gt(0).to_numpy()
    edges = step_edges(values.columns.to_numpy("float64"))
    places = np.arange(len(names) + 1) - 0.5
    cells = np.ma.masked_invalid(values.to_numpy("float64"))
    mesh = axes.pcolormesh(edges, places, cells, norm=colors, cmap=colormap, rasterized=True)
    if broken.any():
        alarm = np.ma.masked_where(~broken, np.ones(broken.shape))
        axes.pcolormesh(edges, places, alarm, cmap=ListedColormap([ALARM]), rasterized=True)
        _hatch(axes, edges, broken, "////")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_facecolor(PALE)  # shows through where nothing was measured
    axes.grid(visible=False)
    return mesh


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write layer names beside the rows of cells: all names of a few layers, seven names of many layers."""
    last = len(names) - 1
    printed = np.arange(len(names)) if len(names) <= FEW_NAMES else np.linspace(0, last, 7).round().astype(int)
    axes.set_yticks(printed, labels=[names[int(place)] for place in printed])


def _hatch(axes: Axes, edges: np.ndarray, chosen: np.ndarray, pattern: str) -> None:
    """Hatch cells in white: in greyscale NaN and a large value are both dark."""
    padded = np.pad(chosen.astype(np.int8), ((0, 0), (1, 1)))
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, stops = np.nonzero(np.diff(padded, axis=1) == -1)
    left, right, top, foot = edges[starts], edges[stops], rows - 0.5, rows + 0.5
    corners = np.stack([[left, top], [right, top], [right, foot], [left, foot]]).transpose(2, 0, 1)
    cells = PolyCollection(list(corners), hatch=pattern, facecolors="none", edgecolors=(1, 1, 1, 0.7), linewidths=0)
    cells.set_rasterized(True)
    axes.add_collection(cells)
