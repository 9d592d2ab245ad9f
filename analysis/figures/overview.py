"""A heat map of one column: every layer at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import ListedColormap, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, definition
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import color_bar, legend_entry, write_title
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.curve_panels import set_steps
from analysis.plotting.style import ALARM
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.layer_choice import in_depth_order, weight_layers
from analysis.summaries.transforms import MEAN, NAN_RUNS, over_runs
from probes.schema import LAYER, STEP

DOTTED = 0.2  # share of the scale from which on negative values are dark enough to be taken for positive ones


@dataclass(frozen=True, kw_only=True)
class Overview(FigureSpec):
    """Layer by step, one panel per norm; the colour is the value, red is NaN, white was not measured.

    Attributes:
        column: Any column of table ``layers``.
    """

    column: str = "weight_mean"
    name = "overview"
    title = "Every layer at every step"

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer and step."""
        return over_runs(weight_layers(rows, self.layers), column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, input at the top."""
        table, column = prepared.table, prepared.columns[self.column]
        names, arms = in_depth_order(table), [arm[ARM] for arm in records(arms_of(table))]
        grid = panels(figure, len(arms), height=2.6)
        colors, colormap = color_scale(table[MEAN].to_numpy())
        meshes = []
        for axes, arm in zip(grid, arms, strict=True):
            name_panel(axes, arm)
            meshes.append(_draw_arm(axes, table[table[ARM] == arm], names, colors, colormap))
        set_cell_steps(grid, table)
        color_bar(figure, meshes[0], grid, axis_label(column))
        broken = table[NAN_RUNS].gt(0).any()
        legend = [legend_entry("NaN in at least one run", ALARM, "", marker="s", markersize=6)] if broken else []
        note = definition(column) + ("; dotted: clearly negative" if isinstance(colors, TwoSlopeNorm) else "")
        note = band_note(note, table, band=False)
        write_title(figure, f"{self.title}: {axis_label(column)}", note, legend, xlabel="step")


def color_scale(values: np.ndarray) -> tuple[Normalize, str]:
    """Return how values become colours: decades if they span more than two, two hues around zero, or one ramp."""
    finite = values[np.isfinite(values)].astype("float64")
    if not finite.size:
        return Normalize(0, 1), "viridis"
    low, high = (float(q) for q in np.percentile(finite, [0.5, 99.5]))
    if finite.min() > 0 and high > 100 * low:
        return LogNorm(low, high), "viridis"
    if low < 0 < high:
        half_width = max(-low, high)
        return TwoSlopeNorm(0, -half_width, half_width), "PuOr_r"
    return Normalize(low, high if high > low else low + 1), "viridis" if high > 0 else "viridis_r"


def _draw_arm(axes: Axes, rows: pd.DataFrame, names: list[str], colors: Normalize, colormap: str) -> QuadMesh:
    values = rows.pivot(index=LAYER, columns=STEP, values=MEAN).reindex(names)
    broken = rows.pivot(index=LAYER, columns=STEP, values=NAN_RUNS).reindex(names).gt(0)
    edges = step_edges(values.columns.to_numpy("float64"))
    places = np.arange(len(names) + 1) - 0.5
    cells = np.ma.masked_invalid(values.to_numpy("float64"))
    mesh = axes.pcolormesh(edges, places, cells, norm=colors, cmap=colormap, rasterized=True)
    if broken.to_numpy().any():
        alarm = np.ma.masked_where(~broken.to_numpy(), np.ones(broken.shape))
        axes.pcolormesh(edges, places, alarm, cmap=ListedColormap([ALARM]), rasterized=True)
        _hatch(axes, edges, broken.to_numpy(), "////")
    if isinstance(colors, TwoSlopeNorm):
        _hatch(axes, edges, values.to_numpy("float64") < DOTTED * float(colors.vmin or 0.0), "......")
    axes.set_ylim(len(names) - 0.5, -0.5)
    printed = np.arange(len(names)) if len(names) <= 16 else np.linspace(0, len(names) - 1, 7).round().astype(int)
    axes.set_yticks(printed, labels=[names[i] for i in printed])
    axes.grid(visible=False)
    return mesh


def _hatch(axes: Axes, edges: np.ndarray, chosen: np.ndarray, pattern: str) -> None:
    """Hatch cells in white: in greyscale NaN, a large value and a large negative one are all but dark."""
    padded = np.pad(chosen.astype(np.int8), ((0, 0), (1, 1)))
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, stops = np.nonzero(np.diff(padded, axis=1) == -1)
    left, right, top, foot = edges[starts], edges[stops], rows - 0.5, rows + 0.5
    corners = np.stack([[left, top], [right, top], [right, foot], [left, foot]]).transpose(2, 0, 1)
    cells = PolyCollection(list(corners), hatch=pattern, facecolors="none", edgecolors=(1, 1, 1, 0.7), linewidths=0)
    cells.set_rasterized(True)
    axes.add_collection(cells)


def set_cell_steps(grid: Sequence[Axes], table: pd.DataFrame) -> None:
    """Give every panel of cells the same range of steps, from the edge of the first cell to that of the last."""
    set_steps(grid, table)
    edges = step_edges(np.sort(table[STEP].unique()).astype("float64"))
    for axes in grid:
        axes.set_xlim(edges[0], edges[-1])


def step_edges(steps: np.ndarray) -> np.ndarray:
    """Return the edges of cells around ascending steps: half-way to the neighbours, as far again outside."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])
