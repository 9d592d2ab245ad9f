"""The coordinate check: sizes of activations or updates over the width; they are flat where learning rates transfer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.plotting.axes.limits import robust_limits
from analysis.plotting.axes.nan_marks import mark_nan_share, runs_with_nan
from analysis.plotting.column_words import axis_label, mathtext, meaning, sentence
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import legend_entry, write_title
from analysis.plotting.panel_grid import layer_arm_panels
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.style import GREY, depth_colors, depth_dashes
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers, with_choice
from analysis.summaries.scaling.width_slopes import SLOPE, SLOPE_ERROR, WIDTH, WIDTHS, width_slopes
from analysis.summaries.transforms import MEAN, NAN_RUNS, SPREAD, over_runs
from probes.schema import LAYER, STEP

MOST_LAYERS, MOST_STEPS = 4, 6


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck(FigureSpec):
    """A size against the width of the network, a panel for each layer and arm, a line for each step.

    Attributes:
        column: The size: ``"activation_rms"``, ``"update_rms_norm"``, ``"update_ratio"`` or another of table `layers`.
    """

    column: str = "activation_rms"
    name = "coordinate_check"
    title = "Sizes over the width of the network"
    settings = (WIDTH,)

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer, step and width, with the slope over all runs.

        Raises:
            ValueError: A width that is no number, or one width in all runs.
        """
        if not_numbers := [width for width in rows[WIDTH].unique() if isinstance(width, str)]:
            raise ValueError(f"figure {self.name!r} needs one number as {WIDTH} of each run, not {not_numbers[0]!r}")
        if rows[WIDTH].nunique() < 2:
            raise ValueError(
                f"figure {self.name!r} compares widths, and all runs have {rows[WIDTH].iloc[0]:g}: "
                "choose runs of two widths or more"
            )
        chosen = readable(weight_layers(rows, self.layers), self.layers, most=MOST_LAYERS)
        steps = np.unique(chosen[STEP])
        shown = steps[np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).round().astype(int))]
        chosen = chosen[chosen[STEP].isin(shown)]
        slopes = width_slopes(chosen, column=self.column, by=(ARM, LAYER, STEP)).drop(columns=WIDTHS)
        return over_runs(chosen, column=self.column, by=(LAYER, STEP, WIDTH)).merge(slopes, on=[ARM, LAYER, STEP])

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw both axes in powers of two. The widths are categories, because no width between them was tried."""
        table, column = prepared.table, prepared.columns[self.column]
        arms = [str(arm[ARM]) for arm in records(arms_of(table))]
        steps, widths = sorted(table[STEP].unique()), sorted(table[WIDTH].unique())
        grid = layer_arm_panels(figure, in_depth_order(table), arms)
        limits = _with_room_below(robust_limits(table[MEAN].to_numpy("float64"), log=True, cut=False))
        for (layer, arm), axes in grid.items():
            mine = table[(table[LAYER].astype(str) == layer) & (table[ARM] == arm)]
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            for step, color, dashes in zip(steps, depth_colors(len(steps)), depth_dashes(len(steps)), strict=True):
                line = mine[(mine[STEP] == step) & (mine[MEAN] > 0)].sort_values(WIDTH)
                axes.errorbar(line[WIDTH], line[MEAN], yerr=line[SPREAD], color=color, linestyle=dashes, marker=".")
            axes.set_xticks(widths, labels=[f"{width:g}" for width in widths])
            axes.xaxis.set_minor_locator(NullLocator())
            if limits:
                axes.set_ylim(*limits)
            _write_slope(axes, mine)
            mark_nan_share(axes, [runs_with_nan(mine).replace("\n", " ")] if (mine[NAN_RUNS] > 0).any() else [])
        colors = zip(steps, depth_colors(len(steps)), depth_dashes(len(steps)), strict=True)
        legend = [legend_entry(f"step {step}", color, dashes) for step, color, dashes in colors]
        note = f"{_message(table)}{sentence(meaning(column))}; slopes of log₂ size over log₂ width; 0 is not drawn"
        note = with_choice(band_note(note, table), table, of=prepared.of_layers)
        write_title(
            figure, self.title, note, legend, formula=mathtext(column), xlabel="width", ylabel=axis_label(column)
        )


def _with_room_below(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return limits of a logarithmic axis with a fifth more below, where the slope is written."""
    return limits and (limits[0] / (limits[1] / limits[0]) ** 0.2, limits[1])


def _last(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each arm and layer: the slope at its last step."""
    ordered = table.sort_values([ARM_ORDER, STEP], kind="stable")
    return ordered.drop_duplicates([ARM, LAYER], keep="last")[[ARM_ORDER, ARM, NORM, LAYER, STEP, SLOPE, SLOPE_ERROR]]


def _write_slope(axes: Axes, rows: pd.DataFrame) -> None:
    [last] = records(_last(rows))
    if np.isfinite(last[SLOPE]):
        error = f" ± {last[SLOPE_ERROR]:.2f}" if np.isfinite(last[SLOPE_ERROR]) else ""
        text = f"slope {_in_hundredths(last[SLOPE])}{error}"
        axes.annotate(text, (0.98, 0.04), xycoords="axes fraction", ha="right", va="bottom", fontsize=6.5, color=GREY)


def _in_hundredths(slope: float) -> str:
    """Return a slope with two digits behind the point; a zero has no sign."""
    return f"{slope:z.2f}".replace("-", "−")


def _message(table: pd.DataFrame) -> str:
    """Return the steepest slope of each arm after the last step."""
    last = _last(table)
    last = last[np.isfinite(last[SLOPE])]
    if last.empty or last[ARM].nunique() > MOST_LAYERS:
        return ""
    steepest = last.loc[last[SLOPE].abs().groupby(last[ARM]).idxmax()].sort_values(ARM_ORDER)
    named = ", ".join(f"{row[ARM]} {_in_hundredths(row[SLOPE])} (layer {row[LAYER]})" for row in records(steepest))
    return f"Steepest slope at the last step: {named}. "
