"""One panel a layer, one line a norm: how the same layer fares under each."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.arms import ARM, ARM_ORDER, NORM, arms_of
from analysis.figures.curves import HALF_WIDTH_OF_ONE_STEP, Curve, draw_curves, extent
from analysis.figures.limits import robust_limits, set_limits
from analysis.figures.nan_marks import mark_nan, runs_with_nan
from analysis.figures.page import head, key, name_panel, panels
from analysis.layer_choice import in_depth_order
from analysis.style import Dashes, look, tint
from analysis.transforms import MEAN, NAN_RUNS, RUNS, SPREAD, SURVIVORS
from probes.schema import LAYER, STEP

MANY_RECORDS = 150  # a noisy line of more is drawn thinner


def draw_by_layer(
    figure: Figure, table: pd.DataFrame, *, title: str, note: str, ylabel: str, log: bool = False, zero: bool = False
) -> None:
    """Draw a panel a layer with a line and a band an arm.

    Args:
        figure: An empty figure.
        table: :func:`analysis.transforms.over_runs`, a row for each arm, layer and step.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
        log: Whether the quantity spans decades.
        zero: Whether to draw the line of zero.
    """
    names = in_depth_order(table)
    grid = panels(figure, len(names))
    curves = {name: _arm_curves(table[table[LAYER] == name]) for name in names}
    limits = robust_limits(extent([c for group in curves.values() for c in group], log=log), log=log)
    for axes, name in zip(grid, names, strict=True):
        name_panel(axes, name)
        if zero:
            axes.axhline(0, color="#9a9a9a", linewidth=0.7, zorder=1)
        draw_curves(axes, curves[name], log=log)
        set_limits(axes, limits, curves[name])
    set_steps(grid, table)
    for axes, name in zip(grid, names, strict=True):
        mine = table[table[LAYER] == name]
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves[name])
    figure.supxlabel("step", fontsize=8)
    figure.supylabel(ylabel, fontsize=8)
    head(figure, title, band_note(note, table), arm_keys(table))


def whose_nan(table: pd.DataFrame) -> str:
    """Return which arms were not finite, and in how many runs, for :func:`mark_nan`."""
    broken = table[table[NAN_RUNS] > 0]
    arms = list(broken.sort_values(ARM_ORDER)[ARM].unique())
    return f"{', '.join(arms)}: {runs_with_nan(table)}" if len(arms) <= 3 else runs_with_nan(table)


def arm_looks(table: pd.DataFrame) -> dict[str, tuple[str, Dashes]]:
    """Return colour and line style of each arm, in drawing order; arms of one norm share its hue."""
    arms = arms_of(table)
    looks = {}
    for place, arm in enumerate(arms.itertuples()):
        kin = list(arms.loc[arms[NORM] == arm.norm, ARM]) if arm.norm else [arm.arm]
        color, dashes = look(str(arm.norm), place=place)
        looks[str(arm.arm)] = tint(color, kin.index(arm.arm), len(kin)), dashes
    return looks


def arm_keys(table: pd.DataFrame) -> list:
    """Return the legend entries of the arms."""
    return [key(arm, color, dashes) for arm, (color, dashes) in arm_looks(table).items()]


def _arm_curves(table: pd.DataFrame) -> list[Curve]:
    looks = arm_looks(table)
    return [arm_curve(table[table[ARM] == arm], *looks[arm]) for arm in looks]


def arm_curve(rows: pd.DataFrame, color: str, dashes: Dashes, *, x: str = STEP) -> Curve:
    """Return the curve of one arm: mean, band of one standard deviation over its runs, survivors of a NaN."""
    rows = rows.sort_values(x)
    return Curve(
        x=rows[x].to_numpy("float64"),
        y=rows[MEAN].to_numpy("float64"),
        color=color,
        dashes=dashes,
        width=1.3 if len(rows) <= MANY_RECORDS else 0.8,
        half_band=rows[SPREAD].to_numpy("float64"),
        survivors=rows[SURVIVORS].to_numpy("float64"),
    )


def band_note(note: str, table: pd.DataFrame, *, band: bool = True) -> str:
    """Return a note with what is averaged and what the band is, if runs repeat each other."""
    most = int(table[RUNS].max()) if len(table) else 1
    if most <= 1:
        return note
    fewest = int(table[RUNS].min())
    count = f"{most} runs" if fewest == most else f"up to {most} runs"
    return f"{note}; mean {'and ±1 standard deviation ' if band else ''}over {count}"


def set_steps(grid: list[Axes], table: pd.DataFrame, *, x: str = STEP) -> None:
    """Give every panel the same range of steps, with a little air; a single step stands in the middle."""
    first, last = float(table[x].min()), float(table[x].max())
    air = 0.02 * (last - first) or HALF_WIDTH_OF_ONE_STEP
    for axes in grid:
        axes.set_xlim(first - air, last + air)
        if first == last:
            axes.set_xticks([first], labels=[f"{first:g}"])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 2.5, 5, 10]))
