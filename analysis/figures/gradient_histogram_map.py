"""The distribution of gradient entries at every step, on a logarithmic axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.plotting.axes.cells import step_edges
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import color_bar, write_title
from analysis.plotting.panel_grid import layer_arm_panels
from analysis.plotting.panels.heat_maps import set_cell_steps
from analysis.plotting.style import ALARM
from analysis.plotting.tick_labels import power_of_ten, scientific
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.densities import shares_by_octave
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.subsets import having
from probes.schema import HISTOGRAM_COLUMNS, HISTOGRAMS, LAYER, LAYER_INDEX, STEP, TENSOR

OCTAVE, SHARE = "octave", "share"


@dataclass(frozen=True, kw_only=True)
class GradientHistogramMap(FigureSpec):
    """Share of gradient entries in each octave of magnitude, negative below and positive above; layer by norm.

    Attributes:
        tensor: ``"gradient"``, ``"weight"`` or ``"activation"``.
        octaves: Number of octaves below the largest entry; smaller entries count as about zero.
    """

    tensor: str = "gradient"
    octaves: int = 16
    name = "gradient_histogram_map"
    title = "Distribution of gradient entries during training"
    reads = HISTOGRAMS
    columns = tuple(column.name for column in HISTOGRAM_COLUMNS)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each arm, layer, step and ``octave``: ``share`` of all elements.

        Octave ``k`` holds values from ``2**(top - octaves + k - 1)`` to twice that. Octave ``-k`` holds their
        negatives, and octave 0 all smaller values. ``top`` is the exponent of the table's largest value.

        Raises:
            ValueError: No histogram of that tensor.
        """
        found = having(rows, TENSOR, self.tensor, what="histograms of tensor")
        found = readable(weight_layers(found, self.layers), self.layers, most=3)
        return shares_by_octave(found, by=[*_ARM_KEYS, LAYER, LAYER_INDEX, STEP], octaves=self.octaves)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel for each layer and arm."""
        table = prepared.table
        names, arms = in_depth_order(table), [arm[ARM] for arm in records(arms_of(table))]
        by_place = layer_arm_panels(figure, names, arms, height=1.9)
        grid = list(by_place.values())
        meshes = [
            _draw_panel(axes, table[(table[LAYER] == name) & (table[ARM] == arm)])
            for (name, arm), axes in by_place.items()
        ]
        _name_decades(grid, int(table["top"].iloc[0]), self.octaves)
        set_cell_steps(grid, table)
        color_bar(figure, meshes[0], grid, "share of entries in an octave")
        smallest = 2.0 ** (int(table["top"].iloc[0]) - self.octaves)
        note = f"0: zero or smaller than {scientific(smallest)}"
        note += "; red at the foot: NaN or infinite entries" if table["share_nonfinite"].gt(0).any() else ""
        note = with_choice(note, table, of=prepared.of_layers)
        title, ylabel = self.title.replace("gradient", self.tensor), f"{self.tensor} entry, octaves of magnitude"
        write_title(figure, title, note, xlabel="step", ylabel=ylabel)


_ARM_KEYS = ["arm_order", "arm", "norm"]


def _draw_panel(axes: Axes, rows: pd.DataFrame) -> QuadMesh:
    shares = rows.pivot(index=OCTAVE, columns=STEP, values=SHARE)
    edges = step_edges(shares.columns.to_numpy("float64"))
    places = np.append(shares.index.to_numpy("float64") - 0.5, shares.index.max() + 0.5)
    cells = np.ma.masked_less_equal(shares.to_numpy("float64"), 0)
    axes.grid(visible=False)
    broken = rows.groupby(STEP)["share_nonfinite"].max().gt(0)
    foot = np.zeros(int(broken.sum()))
    axes.scatter(
        broken.index[broken], foot, s=9, marker="s", color=ALARM, clip_on=False, transform=axes.get_xaxis_transform()
    )
    return axes.pcolormesh(edges, places, cells, norm=LogNorm(1e-5, 0.5), cmap="viridis", rasterized=True)


def _name_decades(grid: list[Axes], top: int, octaves: int) -> None:
    """Write powers of ten at their places among the octaves, zero in the middle."""
    decades = np.arange(int(np.ceil((top - octaves) * np.log10(2))), int(np.floor(top * np.log10(2))) + 1)
    places = decades / np.log10(2) - (top - octaves) + 0.5
    step = max(len(decades) // 2, 1)
    # From the largest decade down, without decades so small that their names would overlap the zero.
    chosen = [(place, decade) for place, decade in zip(places, decades, strict=True) if place > octaves / 5][::-step]
    ticks = [-place for place, _ in chosen] + [0.0] + [place for place, _ in chosen]
    names = [f"−{power_of_ten(int(d))}" for _, d in chosen] + ["0"] + [power_of_ten(int(d)) for _, d in chosen]
    for axes in grid:
        axes.set_yticks(ticks, labels=names)
