"""The spectral norm of each layer's matrix, which SN fixes, and the layer's operator norm, which it does not fix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from analysis.plotting.axes.limits import robust_limits
from analysis.plotting.axes.nan_marks import mark_nan_share, runs_with_nan
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entry, write_title
from analysis.plotting.panel_grid import name_panel, panels, shortened
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.plotting.style import INK
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.layer_choice import in_depth_order, weight_layers
from analysis.summaries.operator_norms import OPERATOR, SPECTRAL, with_operator_norms
from analysis.summaries.subsets import at_last_common_step
from analysis.summaries.transforms import MEAN, NAN_RUNS, SPREAD, SURVIVORS, over_runs
from probes.schema import LAYER, STEP

FORMULA = r"$\sigma_1(W)$ of the matrix;   $\max_x |W * x|\,/\,|x|$ of the layer"
MOST_NAMED = 4  # arms in the message
COMPARED = (SPECTRAL, OPERATOR)  # columns of table `layers`


@dataclass(frozen=True, kw_only=True)
class NormsByLayer(FigureSpec):
    """Spectral norm of the unfolded matrix and operator norm of the convolution, at the last step of all runs."""

    name = "norms_by_layer"
    title = "Spectral norm of the matrix against operator norm of the layer"
    columns = (SPECTRAL,)
    patterns = (OPERATOR, SPECTRAL)  # a network without convolutions has no operator norms of its own

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return both norms for each arm and layer, averaged over the finite runs; ``nan_runs`` counts the other runs.

        Raises:
            ValueError: The runs have no step after the first in common.
        """
        measured = with_operator_norms(weight_layers(rows, self.layers))
        last = at_last_common_step(measured, what="operator norms")
        tables = [over_runs(last, column=column, by=(LAYER,)).set_index([ARM, LAYER]) for column in COMPARED]
        table = tables[0].drop(columns=[MEAN, SPREAD, SURVIVORS])
        for column, each in zip(COMPARED, tables, strict=True):
            table[column] = each[SURVIVORS]
            table[NAN_RUNS] = table[NAN_RUNS].combine(each[NAN_RUNS], max)
        return table.reset_index().assign(step=int(last[STEP].iloc[0]))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, the layers from input to output."""
        table = prepared.table
        names, arms, appearances = in_depth_order(table), records(arms_of(table)), arm_appearances(table)
        grid = panels(figure, len(arms), height=2.3)
        limits = robust_limits(table[list(COMPARED)].to_numpy().ravel())
        for axes, arm in zip(grid, arms, strict=True):
            name_panel(axes, arm[ARM])
            axes.axhline(1.0, color="#9a9a9a", linewidth=0.7, zorder=1)
            _draw_arm(axes, table[table[ARM] == arm[ARM]], names, appearances[arm[ARM]].color)
            if limits:
                axes.set_ylim(*limits)
            name_places(axes, names)
            mine = table[table[ARM] == arm[ARM]]
            mark_nan_share(axes, [runs_with_nan(mine).replace("\n", " ")] if (mine[NAN_RUNS] > 0).any() else [])
        step = table[STEP].max()
        legend = [
            legend_entry("spectral norm of the unfolded matrix", INK, "", marker="o", markersize=4),
            legend_entry(
                "operator norm, padding and stride included", INK, "", marker="^", markersize=5, fillstyle="none"
            ),
        ]
        note = f"At step {step}, of all runs. {_message(table)}The grey line is 1, where spectral norm holds the matrix"
        write_title(figure, self.title, note, legend, formula=FORMULA, ylabel="norm")


def _message(table: pd.DataFrame) -> str:
    """Return the largest ratio of operator norm to spectral norm among the layers of each arm."""
    if (table[NAN_RUNS] > 0).any():
        return ""
    ratio = (table[OPERATOR] / table[SPECTRAL]).groupby(table[ARM], observed=True).max()
    arms = [arm[ARM] for arm in records(arms_of(table))]
    if len(arms) > MOST_NAMED or not np.isfinite(ratio).all() or not (ratio > 1.01).any():
        return ""
    named = ", ".join(f"{arm} {ratio[arm]:.1f}" for arm in arms)
    return f"The layer stretches by more than its matrix, at most: {named} times. "


def _draw_arm(axes: Axes, rows: pd.DataFrame, names: list[str], color: ColorType) -> None:
    place = rows[LAYER].astype(str).map({name: i for i, name in enumerate(names)}).to_numpy()
    size = 26 if len(names) <= 12 else 9
    axes.vlines(place, rows[SPECTRAL], rows[OPERATOR], color=color, alpha=0.35, linewidth=0.8)
    axes.scatter(place, rows[SPECTRAL], s=size, color=color, linewidths=0, zorder=3)
    axes.scatter(
        place, rows[OPERATOR], s=1.3 * size, facecolors="none", edgecolors=color, marker="^", linewidths=0.9, zorder=3
    )


def name_places(axes: Axes, names: list[str]) -> None:
    """Write layer names below an axis of depth: all names of up to eight layers, else five names."""
    printed = np.arange(len(names)) if len(names) <= 8 else np.linspace(0, len(names) - 1, 5).round().astype(int)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(
        printed, labels=[shortened(names[i], 16) for i in printed], rotation=35, ha="right", rotation_mode="anchor"
    )
    axes.grid(visible=False, axis="x")
