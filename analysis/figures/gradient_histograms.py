"""Fig. 5: the distribution of each layer's gradient entries."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan_share
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.plotting.style import Appearance
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.densities import central_range, pooled, rebinned
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.subsets import having
from probes.schema import HISTOGRAM_COLUMNS, HISTOGRAMS, LAYER, LAYER_INDEX, STEP, TENSOR

FIRST, LAST = "first", "last"


@dataclass(frozen=True, kw_only=True)
class GradientHistograms(FigureSpec):
    """Density of the gradient's entries; one panel per layer, one line per norm, the runs of a norm added up.

    Attributes:
        at: ``"first"``, ``"last"`` or a recorded step.
        bins: Number of equal bins the recorded exponent bins are shared out to, evenly within each.
        tensor: ``"gradient"``, ``"weight"`` or ``"activation"``.
        log: Whether the density axis is logarithmic, which shows the tails.
    """

    at: str | int = LAST
    bins: int = 80
    tensor: str = "gradient"
    log: bool = True
    name = "gradient_histograms"
    title = "Distribution of gradient entries"
    paper = "Fig. 5"
    published = MappingProxyType({"at": FIRST, "bins": 20, "log": False})
    reads = HISTOGRAMS
    columns = tuple(column.name for column in HISTOGRAM_COLUMNS)
    published_convolutions = (44, 75)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``density`` between ``left`` and ``right`` for each arm, layer and bin, and the shares of 0 and NaN.

        Raises:
            ValueError: No histogram of that tensor, or none at that step.
        """
        rows = self._at_step(having(rows, TENSOR, self.tensor, what="histograms of tensor"))
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6)
        parts = []
        for name in in_depth_order(rows):
            layer = rows[rows[LAYER] == name]
            half_width = central_range(layer, share=0.998)
            edges = np.linspace(-half_width, half_width, self.bins + 1)
            for arm in records(arms_of(layer)):
                group = layer[layer[ARM] == arm[ARM]]
                part = rebinned(pooled(group), edges).assign(layer=name, **arm)
                parts.append(part.assign(layer_index=group[LAYER_INDEX].min(), step=group[STEP].max()))
        keys = [ARM_ORDER, ARM, NORM, LAYER, LAYER_INDEX, STEP]
        return pd.concat(parts, ignore_index=True)[[*keys, "left", "right", "density", "share_zero", "share_nonfinite"]]

    def _at_step(self, rows: pd.DataFrame) -> pd.DataFrame:
        if self.at in (FIRST, LAST):
            chosen = rows.groupby(["run", LAYER], observed=True)[STEP].transform("min" if self.at == FIRST else "max")
            return rows[rows[STEP] == chosen]
        found = rows[rows[STEP] == self.at]
        if found.empty:
            raise ValueError(
                f"no histogram at step {self.at!r}; expected 'first', 'last' or a recorded step from "
                f"{rows[STEP].min()} to {rows[STEP].max()}"
            )
        return found

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer."""
        table = prepared.table
        names, appearances = in_depth_order(table), arm_appearances(table)
        grid = panels(figure, len(names), height=1.9, sharex=False, sharey=False)
        for axes, name in zip(grid, names, strict=True):
            name_panel(axes, name)
            self._draw_layer(axes, table[table[LAYER] == name], appearances)
        first, last = table[STEP].min(), table[STEP].max()
        when = f"step {last}" if first == last else f"steps {first} to {last}"
        note = f"{when}, {self.at} record of each run" if self.at in (FIRST, LAST) else when
        note = with_choice(f"{note}; central 99.8 % of the widest", table, of=prepared.of_layers)
        write_title(
            figure, self._title(), note, legend_entries(appearances), xlabel=f"{self.tensor} entry", ylabel="density"
        )

    def _title(self) -> str:
        return self.title.replace("gradient", self.tensor)

    def _draw_layer(self, axes: Axes, rows: pd.DataFrame, appearances: dict[str, Appearance]) -> None:
        for arm in rows.sort_values(ARM_ORDER)[ARM].unique():
            bins = rows[rows[ARM] == arm].sort_values("left")
            color, dashes, _ = appearances[arm]
            density = bins["density"].where(bins["density"] > 0) if self.log else bins["density"]
            edges = [*bins["left"], bins["right"].iloc[-1]]
            axes.stairs(density, edges, color=color, linestyle=dashes, linewidth=1.2, baseline=None)
            if not self.log:
                axes.stairs(density, edges, color=color, alpha=0.12, fill=True)
        if self.log:
            axes.set_yscale("log")
        broken = rows[rows["share_nonfinite"] > 0].drop_duplicates(ARM)
        mark_nan_share(axes, [f"{row[ARM]}: {100 * row['share_nonfinite']:.3g} % NaN" for row in records(broken)])
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.locator_params(axis="x", nbins=4)
