"""Fig. 5: the distribution of each layer's gradient entries, at the first record and late in training."""

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
from analysis.plotting.tick_labels import scientific
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.densities import central_range, pooled, rebinned, root_mean_square
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.subsets import common_steps, having
from probes.schema import HISTOGRAM_COLUMNS, HISTOGRAMS, LAYER, LAYER_INDEX, STEP, TENSOR

FIRST, LATE = "first", "late"
BOTH = "both"
LATE_SHARE, MOST_POOLED = 0.2, 5  # late: the last records within this share of the training, at most this many
FROM, RECORDS, RMS = "from_step", "records", "rms"


@dataclass(frozen=True, kw_only=True)
class GradientHistograms(FigureSpec):
    """Density of the gradient's entries; one row per layer, first record left, late records right, one line per norm.

    The counts of a norm's runs are added up. The counts of the late records are added up too, because one record is one
    batch. All runs show the same steps.

    Attributes:
        at: ``"both"``, ``"first"``, ``"late"`` or a recorded step.
        bins: Number of equal bins. The count of each recorded exponent bin is spread evenly over its range.
        tensor: ``"gradient"``, ``"weight"`` or ``"activation"``.
        log: Whether the density axis is logarithmic, which shows the tails.
    """

    at: str | int = BOTH
    bins: int = 41
    tensor: str = "gradient"
    log: bool = True
    name = "gradient_histograms"
    title = "Distribution of gradient entries"
    paper = "Fig. 5"
    published = MappingProxyType({"bins": 20, "log": False})
    reads = HISTOGRAMS
    columns = tuple(column.name for column in HISTOGRAM_COLUMNS)
    published_convolutions = (44, 75)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``density`` between ``left`` and ``right`` for each arm, layer, step and bin.

        ``step`` is the last of the ``records`` added up, ``from_step`` the first. ``rms`` is the root mean square of
        their entries. ``share_zero`` and ``share_nonfinite`` are shares of all entries.

        Raises:
            ValueError: No histogram of that tensor, none at that step, or no step that all runs have.
        """
        rows = having(rows, TENSOR, self.tensor, what="histograms of tensor")
        rows = readable(weight_layers(rows, self.layers), self.layers, most=3)
        parts = [part for steps in self._steps(rows) for part in self._densities(rows[rows[STEP].isin(steps)])]
        keys = [ARM_ORDER, ARM, NORM, LAYER, LAYER_INDEX, STEP, FROM, RECORDS]
        return pd.concat(parts, ignore_index=True)[
            [*keys, "left", "right", "density", "share_zero", "share_nonfinite", RMS]
        ]

    def _steps(self, rows: pd.DataFrame) -> list[np.ndarray]:
        """Return the steps to add up, for each column of panels."""
        common = common_steps(rows, what=f"histograms of the {self.tensor}")
        late = common[common >= common[-1] - LATE_SHARE * (common[-1] - common[0])][-MOST_POOLED:]
        if self.at in (BOTH, FIRST, LATE):
            chosen = {FIRST: [common[:1]], LATE: [late], BOTH: [common[:1], late] if len(common) > 1 else [common]}
            return chosen[str(self.at)]
        if self.at not in common:
            raise ValueError(
                f"no histogram of all runs at step {self.at!r}; expected 'both', 'first', 'late' or a recorded step "
                f"from {common[0]} to {common[-1]}"
            )
        return [np.array([self.at])]

    def _densities(self, rows: pd.DataFrame) -> list[pd.DataFrame]:
        """Return the densities for one column of panels, with the same bins for all arms of a layer."""
        parts = []
        for name in in_depth_order(rows):
            layer = rows[rows[LAYER] == name]
            half_width = central_range(layer, share=0.998)
            edges = np.linspace(-half_width, half_width, self.bins + 1)
            for arm in records(arms_of(layer)):
                group = layer[layer[ARM] == arm[ARM]]
                together = pooled(group)
                facts = {LAYER: name, LAYER_INDEX: group[LAYER_INDEX].min(), RMS: root_mean_square(together)}
                steps = {STEP: group[STEP].max(), FROM: group[STEP].min(), RECORDS: group[STEP].nunique()}
                parts.append(rebinned(together, edges).assign(**arm, **facts, **steps))
        return parts

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a row of panels per layer, the first record left."""
        table = prepared.table
        names, appearances = in_depth_order(table), arm_appearances(table)
        times = records(table[[FROM, STEP, RECORDS]].drop_duplicates().sort_values(STEP))
        places = [(name, time) for name in names for time in times]
        grid = panels(
            figure, len(places), height=1.9, columns=len(times) if len(times) > 1 else 3, sharex=False, sharey=False
        )
        for axes, (name, time) in zip(grid, places, strict=True):
            name_panel(axes, name, arm=_when(time))
            self._draw_layer(axes, table[(table[LAYER] == name) & (table[STEP] == time[STEP])], appearances)
        note = f"{_message(table)}Range: the central 99.8 % of the widest; each panel has its own scale"
        title = self.title.replace("gradient", self.tensor)
        write_title(
            figure,
            title,
            with_choice(note, table, of=prepared.of_layers),
            legend_entries(appearances),
            xlabel=f"{self.tensor} entry",
            ylabel="density",
        )

    def _draw_layer(self, axes: Axes, rows: pd.DataFrame, appearances: dict[str, Appearance]) -> None:
        widths = []
        for arm in rows.sort_values(ARM_ORDER)[ARM].unique():
            bins = rows[rows[ARM] == arm].sort_values("left")
            color, dashes, _ = appearances[arm]
            density = bins["density"].where(bins["density"] > 0) if self.log else bins["density"]
            edges = [*bins["left"], bins["right"].iloc[-1]]
            axes.stairs(density, edges, color=color, linestyle=dashes, linewidth=1.2, baseline=None)
            if not self.log:
                axes.stairs(density, edges, color=color, alpha=0.12, fill=True)
            if np.isfinite(bins[RMS].iloc[0]):
                widths.append(f"{arm} {scientific(float(f'{bins[RMS].iloc[0]:.1e}'))}")
        if self.log:
            axes.set_yscale("log")
        if len(widths) <= 4:
            text = "\n".join(["rms", *widths])
            axes.annotate(text, (0.98, 0.96), xycoords="axes fraction", ha="right", va="top", fontsize=6)
        broken = rows[rows["share_nonfinite"] > 0].drop_duplicates(ARM)
        mark_nan_share(axes, [f"{row[ARM]}: {100 * row['share_nonfinite']:.3g} % NaN" for row in records(broken)])
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.locator_params(axis="x", nbins=4)


def _when(time: dict[str, int]) -> str:
    if time[RECORDS] == 1:
        return f"step {time[STEP]}"
    return f"steps {time[FROM]} to {time[STEP]}"


def _message(table: pd.DataFrame) -> str:
    """Return the width of SN's and MSN's gradients relative to BN's, as the median over the layers, first and late."""
    said = []
    widths = table.drop_duplicates([ARM, LAYER, STEP]).pivot_table(index=[STEP, LAYER], columns=NORM, values=RMS)
    if table.groupby(NORM, observed=True)[ARM].nunique().max() > 1 or "bn" not in widths:
        return ""
    for norm, label in (("sn", "SN"), ("msn", "MSN")):
        if norm in widths:
            ratios = (widths[norm] / widths["bn"]).groupby(STEP).median()
            said.append(f"{label} " + ", then ".join(f"{ratio:.2g}" for ratio in ratios))
    return f"Width (rms) against BN's, median of these layers: {'; '.join(said)}. " if said else ""
