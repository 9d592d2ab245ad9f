"""The share of the gradient's entries that holds most of its squared length: the curve, and the bytes to send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.plotting.axes.nan_marks import mark_nan_share
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entries, write_title
from analysis.plotting.panel_grid import name_panel, panels
from analysis.plotting.panels.arm_curves import EXTRA_WIDTH, arm_appearances
from analysis.plotting.style import Appearance
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.gradient_concentration import KURTOSIS, MASS, SHARE, gradient_concentration, mass_curve
from analysis.summaries.layer_choice import FEW_LAYERS, in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.subsets import common_steps
from probes.schema import HISTOGRAM_COLUMNS, HISTOGRAMS, LAYER, LAYER_INDEX, RUN, STEP

ENTRIES, LENGTH = "share_of_entries", "share_of_squared_length"
POINTS = np.linspace(0.0, 1.0, 51)
LAST_RECORDS = 5  # averaged, because one record is one batch
FORMULA = (
    r"$f(k) = \sum_{i \leq k} g_{(i)}^2\,/\,\sum_i g_i^2$, by size;  the largest $k$ alone have cosine $\sqrt{f(k)}$"
)
_NUMBERS = [SHARE, KURTOSIS, "bytes_cosine_0.9", "bytes_dense"]
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class GradientMass(FigureSpec):
    """Share of the gradient's squared length in its largest entries; one panel per layer, one line per norm.

    Means over the last records that all runs have, and over runs. A curve further left is a sparser gradient, whatever
    the threshold.
    """

    name = "gradient_mass"
    title = "Gradient held by its largest entries"
    reads = HISTOGRAMS
    columns = tuple(column.name for column in HISTOGRAM_COLUMNS)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the curve for each arm and layer, a row for each point, with the numbers of the layer beside it.

        ``share_of_entries`` of the largest entries hold ``share_of_squared_length``; ``share_of_entries_90``,
        ``kurtosis`` and the bytes are those of
        :func:`analysis.summaries.gradient_concentration.gradient_concentration`.

        Raises:
            ValueError: No histogram of gradients, or no late step that all runs have.
        """
        chosen = readable(weight_layers(rows, self.layers), self.layers, most=6, all_up_to=FEW_LAYERS)
        steps = common_steps(chosen, what="histograms of the gradient")[-LAST_RECORDS:]
        measured = gradient_concentration(chosen[chosen[STEP].isin(steps)])
        counts = chosen.loc[measured.index]
        curves = [mass_curve(counts.iloc[[place]], POINTS) for place in range(len(counts))]
        keys = [ARM_ORDER, ARM, NORM, LAYER]
        long = measured[[*keys, LAYER_INDEX, RUN, STEP, *_NUMBERS]].loc[measured.index.repeat(len(POINTS))]
        long = long.assign(**{LENGTH: np.tile(POINTS, len(counts)), ENTRIES: np.concatenate(curves)})
        groups = long.groupby([*keys, LENGTH], observed=True)
        numbers = groups[[ENTRIES, *_NUMBERS]]
        table = numbers.mean().where(numbers.count().eq(groups.size(), axis=0))  # mean(skipna=False) needs pandas 3
        table[LAYER_INDEX] = groups[LAYER_INDEX].min()
        return table.reset_index().assign(step=int(steps[-1]), records=len(steps))

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer."""
        table = prepared.table
        names, appearances = in_depth_order(table), arm_appearances(table)
        grid = panels(figure, len(names), height=1.9)
        for axes, name in zip(grid, names, strict=True):
            name_panel(axes, name)
            axes.axhline(MASS, color="#9a9a9a", linewidth=0.7, zorder=1)
            _draw_layer(axes, table[table[LAYER] == name], appearances)
        count, step = int(table["records"].iloc[0]), int(table[STEP].iloc[0])
        note = f"{_message(table)}Further left: sparser. Mean of {count} records up to step {step}; grey: 90 %"
        write_title(
            figure,
            self.title,
            with_choice(note, table, of=prepared.of_layers),
            legend_entries(appearances),
            formula=FORMULA,
            xlabel="share of the entries, largest first",
            ylabel="share of the squared length",
        )


def _draw_layer(axes: Axes, rows: pd.DataFrame, appearances: dict[str, Appearance]) -> None:
    broken: list[str] = []
    for place, (arm, (color, dashes, _)) in enumerate(appearances.items()):
        mine = rows[rows[ARM] == arm].sort_values(LENGTH)
        width = 1.2 + EXTRA_WIDTH * (len(appearances) - 1 - place) / max(len(appearances) - 1, 1)
        if mine[ENTRIES].isna().any():
            broken.append(f"{arm}: NaN")
        axes.plot(mine[ENTRIES], mine[LENGTH], color=color, linestyle=dashes, linewidth=width)
    mark_nan_share(axes, broken)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set_ticks([0, 0.5, 1.0])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "NaN"


def _message(table: pd.DataFrame) -> str:
    """Return the share of entries that holds 90 %, and the bytes for a cosine of 0.9, medians over the layers shown."""
    arms = records(arms_of(table))
    if len(arms) > MOST_NAMED:
        return ""
    layers = table.drop_duplicates([ARM, LAYER]).assign(bytes=lambda t: t["bytes_cosine_0.9"] / t["bytes_dense"])
    groups = layers.groupby(ARM, observed=True)[[SHARE, "bytes"]]
    medians = groups.median().where(groups.count().eq(groups.size(), axis="index"))  # a NaN is not skipped
    shares = ", ".join(f"{arm[ARM]} {_percent(medians.loc[arm[ARM], SHARE])}" for arm in arms)
    sent = ", ".join(_percent(medians.loc[arm[ARM], "bytes"]) for arm in arms)
    return f"90 % of the squared length lies in {shares} of the entries; for a cosine of 0.9 send {sent} of the bytes. "
