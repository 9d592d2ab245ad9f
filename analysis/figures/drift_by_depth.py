"""Drift of each layer's mean at the end of training, by depth, with the spread over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drift_map import ACTIVATION, BEHIND_A_NORM, FORMULA, WEIGHT, drifting_rows
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import panels
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.plotting.style import Appearance
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.subsets import common_steps
from probes.schema import FEEDS, LAYER, LAYER_INDEX, RUN, STEP

TENSOR, DRIFT, DEPTH = "tensor", "drift", "depth"
_TITLES = {ACTIVATION: "before the nonlinearity", WEIGHT: "weights"}
FEW_LAYERS = 16  # more are drawn as medians over tenths of the depth
BINS = 10
LAST_RECORDS = 3  # averaged: one record before a nonlinearity is one batch


@dataclass(frozen=True, kw_only=True)
class DriftByDepth(FigureSpec):
    """Signed drift of the mean, in deviations of the same tensor, against depth; one line per norm, a band over seeds.

    Left what the nonlinearities see, right the weights, at the last records that all runs have.
    """

    name = "drift_by_depth"
    title = "Mean drift by depth, at the end"
    columns = ("weight_mean", "weight_var")
    patterns = ("weight_mean", "activation_mean", "activation_var")
    before_nonlinearity = True
    keeps_unmeasured = True  # a layer without weights has activations

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each run, ``tensor`` and layer: mean ``drift`` over the last records, ``depth`` from 0 to 1.

        Raises:
            ValueError: Nothing was measured, or the runs have no late step in common.
        """
        parts = [self._of_tensor(rows, tensor) for tensor in _TITLES]
        found = [part for part in parts if len(part)]
        if not found:
            raise ValueError(f"figure {self.name!r}: no row of table 'layers' has a mean and a variance measured")
        return pd.concat(found, ignore_index=True)

    def _of_tensor(self, rows: pd.DataFrame, tensor: str) -> pd.DataFrame:
        columns = [f"{tensor}_mean", f"{tensor}_var"]
        if not set(columns) <= set(rows.columns):
            return rows.iloc[:0]
        measured = rows[rows[columns].notna().all(axis="columns")]
        if measured.empty or (tensor == ACTIVATION and not measured[FEEDS].any()):
            return measured.iloc[:0]
        drifting = drifting_rows(measured, tensor=tensor, asked=self.layers, figure=self.name)
        steps = common_steps(drifting, what=f"means of the {tensor}s")[-LAST_RECORDS:]
        last = drifting[drifting[STEP].isin(steps)]
        keys = [ARM_ORDER, ARM, NORM, RUN, LAYER]
        table = last.groupby(keys, observed=True).agg({DRIFT: "mean", LAYER_INDEX: "min", STEP: "max"}).reset_index()
        rank = table.groupby(RUN, observed=True)[LAYER_INDEX].rank(method="dense") - 1
        deepest = rank.groupby(table[RUN], observed=True).transform("max")
        table[DEPTH] = (rank / deepest.where(deepest > 0, 1.0)).round(6)
        table[TENSOR] = tensor
        return table

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel for each tensor."""
        table, appearances = prepared.table, arm_appearances(prepared.table)
        tensors = [tensor for tensor in _TITLES if (table[TENSOR] == tensor).any()]
        grid = panels(figure, len(tensors), height=2.6, columns=2, sharey=False)
        for axes, tensor in zip(grid, tensors, strict=True):
            axes.set_title(_TITLES[tensor])
            axes.axhline(0.0, color="#9a9a9a", linewidth=0.7, zorder=1)
            _draw_arms(axes, table[table[TENSOR] == tensor], appearances)
            axes.set(xlabel="", ylabel="")
        seeds = int(table.groupby(ARM, observed=True)[RUN].nunique().max())
        note = f"Mean of the last {LAST_RECORDS} records; {BEHIND_A_NORM}"
        if table.groupby([RUN, TENSOR], observed=True)[LAYER].nunique().max() > FEW_LAYERS:
            note += "; line: median of the layers in a tenth of the depth, band: 10 % to 90 % of them"
        elif seeds > 1:
            note += "; band: ±1 standard deviation over seeds"
        write_title(
            figure,
            self.title,
            note,
            legend_entries(appearances),
            formula=FORMULA,
            xlabel="depth, from the first layer (0) to the last (1)",
            ylabel="drift [standard deviations]",
        )


def _draw_arms(axes: Axes, rows: pd.DataFrame, appearances: dict[str, Appearance]) -> None:
    few = rows.groupby(RUN, observed=True)[LAYER].nunique().max() <= FEW_LAYERS
    if not few:  # neighbours of different kinds would make a zigzag
        rows = rows.assign(**{DEPTH: (rows[DEPTH] * BINS).clip(upper=BINS - 1).astype(int) / BINS + 0.5 / BINS})
    for arm, (color, dashes, _) in appearances.items():
        mine = rows[(rows[ARM] == arm) & np.isfinite(rows[DRIFT])]
        if len(mine):
            sns.lineplot(
                mine.astype({DRIFT: float}),
                x=DEPTH,
                y=DRIFT,
                estimator="mean" if few else "median",
                errorbar=("pi", 80) if not few else "sd" if mine[RUN].nunique() > 1 else None,
                color=color,
                linestyle=dashes,
                marker="o",
                markersize=4,
                markeredgewidth=0,
                legend=False,
                ax=axes,
            )
