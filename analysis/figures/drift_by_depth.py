"""Drift of each layer's mean at the end of training, by depth, with the spread over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drift_map import ACTIVATION, FORMULA, WEIGHT, behind_a_norm, drifting_rows
from analysis.plotting.axes.nan_marks import mark_nan_share
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import panels
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.plotting.style import ALARM, Appearance
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.subsets import common_steps, was_measured
from probes.schema import FEEDS, LAYER, LAYER_INDEX, RUN, STEP

TENSOR, DRIFT, DEPTH = "tensor", "drift", "depth"
_TITLES = {ACTIVATION: "before the nonlinearity", WEIGHT: "weights"}
FEW_LAYERS = 16  # more are drawn as medians over tenths of the depth
BINS = 10
LAST_RECORDS = 3  # averaged, because a record of activations comes from one batch


@dataclass(frozen=True, kw_only=True)
class DriftByDepth(FigureSpec):
    """Signed drift of the mean, in deviations of the same tensor, against depth; one line per norm, a band over seeds.

    The left panel shows the inputs of the nonlinearities, the right panel the weights. Both show the last records that
    all runs have.
    """

    name = "drift_by_depth"
    title = "Mean drift by depth, at the end"
    columns = ("weight_mean", "weight_var")
    patterns = ("weight_mean", "activation_mean", "activation_var")
    before_nonlinearity = True
    keeps_unmeasured = True  # a layer without weights has activations

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each run, ``tensor`` and layer: mean ``drift`` over the last records, ``depth`` from 0 to 1.

        A NaN in one of the records gives NaN.

        Raises:
            ValueError: Nothing was measured, or the runs have no late step in common.
        """
        parts = [self._of_tensor(rows, tensor) for tensor in _TITLES]
        found = [part for part in parts if len(part)]
        if not found:
            raise ValueError(f"figure {self.name!r}: no row of table 'layers' has a mean and a variance measured")
        return pd.concat(found, ignore_index=True)

    def _of_tensor(self, rows: pd.DataFrame, tensor: str) -> pd.DataFrame:
        measured = rows[was_measured(rows, f"{tensor}_mean", f"{tensor}_var")]
        if measured.empty or (tensor == ACTIVATION and not measured[FEEDS].any()):
            return measured.iloc[:0]
        drifting = drifting_rows(measured, tensor=tensor, asked=self.layers, figure=self.name)
        steps = common_steps(drifting, what=f"means of the {tensor}s")[-LAST_RECORDS:]
        last = drifting[drifting[STEP].isin(steps)]
        keys = [ARM_ORDER, ARM, NORM, RUN, LAYER]
        groups = last.groupby(keys, observed=True)
        table = groups.agg({LAYER_INDEX: "min", STEP: "max"})
        mean = groups[DRIFT].mean().where(groups[DRIFT].count() == groups.size())  # a NaN is not skipped
        table.insert(0, DRIFT, mean)
        table = table.reset_index()
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
            _mark_nan(axes, table[table[TENSOR] == tensor])
            axes.set(xlabel="", ylabel="")
        seeds = int(table.groupby(ARM, observed=True)[RUN].nunique().max())
        note = f"Mean of the last {LAST_RECORDS} records{behind_a_norm(table)}"
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


def _unbroken(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of one arm, split at depths where a run is NaN, so that no line crosses such a layer."""
    finite = rows[DRIFT].map(np.isfinite).groupby(rows[DEPTH]).all()
    stretch = (~finite).cumsum()
    whole = rows[rows[DEPTH].map(finite)].astype({DRIFT: float})
    return [part for _, part in whole.groupby(whole[DEPTH].map(stretch))]


def _mark_nan(axes: Axes, rows: pd.DataFrame) -> None:
    """Cross out the depths at which a layer is NaN, at the foot of the panel, and say in which arms."""
    broken = rows[~np.isfinite(rows[DRIFT])]
    axes.scatter(
        broken[DEPTH],
        np.zeros(len(broken)),
        marker="x",
        color=ALARM,
        s=18,
        clip_on=False,
        zorder=4,
        transform=axes.get_xaxis_transform(),
    )
    arms = broken.sort_values(ARM_ORDER).groupby([ARM_ORDER, ARM], observed=True)
    named = [f"{arm}: NaN in {own[LAYER].nunique()} of {_layers(rows, arm)} layers" for (_, arm), own in arms]
    mark_nan_share(axes, named)


def _layers(rows: pd.DataFrame, arm: str) -> int:
    return int(rows.loc[rows[ARM] == arm, LAYER].nunique())


def _draw_arms(axes: Axes, rows: pd.DataFrame, appearances: dict[str, Appearance]) -> None:
    few = rows.groupby(RUN, observed=True)[LAYER].nunique().max() <= FEW_LAYERS
    if not few:  # neighbouring layers of different kinds would draw a zigzag
        rows = rows.assign(**{DEPTH: (rows[DEPTH] * BINS).clip(upper=BINS - 1).astype(int) / BINS + 0.5 / BINS})
    for arm, (color, dashes, _) in appearances.items():
        for mine in _unbroken(rows[rows[ARM] == arm]):
            sns.lineplot(
                mine,
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
