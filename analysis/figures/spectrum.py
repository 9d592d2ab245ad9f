"""The whole singular spectrum of a layer during training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.plotting.axes.limits import robust_limits
from analysis.plotting.axes.nan_marks import mark_nan_share
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import color_bar, write_title
from analysis.plotting.panel_grid import layer_arm_panels
from analysis.plotting.style import depth_colormap
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.subsets import having
from analysis.summaries.transforms import MEAN, NAN_RUNS, over_runs
from probes.schema import LAYER, SPECTRA, STEP, VIEW

VALUES, INDEX = "singular_values", "index"


@dataclass(frozen=True, kw_only=True)
class Spectrum(FigureSpec):
    """Singular values in descending order, coloured by step; a row of panels per layer, a column per norm.

    Attributes:
        view: Which matrix of the layer, as recorded: ``"unfolded"``.
        log: Whether the singular values are on a logarithmic axis.
    """

    view: str = "unfolded"
    log: bool = False
    name = "spectrum"
    title = "Singular spectrum during training"
    reads = SPECTRA
    columns = (VALUES,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the singular values over runs, a row for each arm, layer, step and ``index`` from 1.

        Raises:
            ValueError: No spectrum of that view.
        """
        found = having(rows, VIEW, self.view, what="spectra of view")
        found = readable(weight_layers(found, self.layers), self.layers, most=3)
        lengths = found[VALUES].map(len)
        long = found.loc[found.index.repeat(lengths)].drop(columns=VALUES)
        long["value"] = np.concatenate(found[VALUES].to_list())
        long[INDEX] = np.concatenate([np.arange(1, length + 1) for length in lengths])
        return over_runs(long, column="value", by=(LAYER, STEP, INDEX))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel for each layer and arm."""
        table = prepared.table
        names, arms = in_depth_order(table), [arm[ARM] for arm in records(arms_of(table))]
        grid = layer_arm_panels(figure, names, arms, sharex=False, sharey=False)
        steps = Normalize(float(table[STEP].min()), float(max(table[STEP].max(), table[STEP].min() + 1)))
        for (name, arm), axes in grid.items():
            mine = table[table[LAYER] == name]
            _draw_panel(axes, mine[mine[ARM] == arm], steps, log=self.log)
            mark_nan_share(axes, _broken(mine[mine[ARM] == arm]))
            limits = robust_limits(mine[MEAN].to_numpy(), log=self.log)
            if limits:
                axes.set_ylim(limits[0] if self.log else min(0.0, limits[0]), limits[1])
            axes.set_xlim(0.5, float(mine[INDEX].max()) + 0.5)
        lone = table[STEP].nunique() == 1
        if not lone:
            color_bar(figure, ScalarMappable(steps, depth_colormap()), list(grid.values()), "step")
        when = f"step {table[STEP].iloc[0]}" if lone else "colour: step"
        note = with_choice(f"{self.view} matrix; {when}", table, of=prepared.of_layers)
        xlabel = "index of the singular value, largest first"
        write_title(figure, self.title, note, xlabel=xlabel, ylabel="singular value")


def _broken(rows: pd.DataFrame) -> list[str]:
    by_step = rows.groupby(STEP)[NAN_RUNS].max().gt(0)
    return [f"NaN at {by_step.sum()} of {len(by_step)} records"] if by_step.any() else []


def _draw_panel(axes: Axes, rows: pd.DataFrame, steps: Normalize, *, log: bool) -> None:
    recorded = np.sort(rows[STEP].unique())
    spectra = [rows[rows[STEP] == step].sort_values(INDEX) for step in recorded]
    lines = [spectrum[[INDEX, MEAN]].to_numpy("float64") for spectrum in spectra]
    colors = depth_colormap()(steps(recorded.astype("float64")))
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1.1))
    if log:
        axes.set_yscale("log")
