"""Whole-network quantities of GAN runs over steps: what the GAN figures have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.page import head, keys, with_smoothing
from analysis.plotting.panels.arm_curves import arm_curve, band_note, whose_nan
from analysis.plotting.panels.by_arm import draw_by_arm
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.plotting.picture import Picture, Prepared
from analysis.plotting.style import GREY, INK, Look
from analysis.summaries.arms import ARM, arms_of
from analysis.summaries.transforms import over_runs, smooth
from probes.schema import RUN, STEP, STEPS

QUANTITY = "quantity"
GRADIENT_UNIT = "[output / pixel value]"  # of the critic's gradient by its input, and of what bounds it


def by_quantity(rows: pd.DataFrame, columns: Sequence[str], *, window: int = 1) -> pd.DataFrame:
    """Return columns over the runs of each arm: a row for each quantity, arm and step.

    Args:
        rows: Rows of table ``steps`` with the columns measured.
        columns: Quantities.
        window: Records of a trailing mean; 1 smooths nothing.
    """
    rows = rows.sort_values(STEP, kind="stable")
    parts = []
    for column in columns:
        smoothed = rows.assign(**{column: smooth(rows, column=column, window=window, by=[RUN])})
        parts.append(over_runs(smoothed, column=column, by=(STEP,)).assign(**{QUANTITY: column}))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class GanCurves(Picture):
    """Columns of table ``steps`` over steps; a figure says in its file which, in what words, and who draws them.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
        words: What each column is called in the figure.
        note: How the columns are to be read.
        ylabel: Quantity and unit.
        draw_table: :func:`draw_networks` or :func:`draw_steepness`.
    """

    smooth: int = 1
    words: ClassVar[Mapping[str, str]]
    note: ClassVar[str]
    ylabel: ClassVar[str]
    draw_table: ClassVar[Callable[..., list[Axes]]]
    reads = STEPS
    of_gans = True

    def needed(self) -> tuple[str, ...]:
        """Return the columns that have words."""
        return tuple(self.words)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the columns over runs, a row for each quantity, arm and step."""
        return by_quantity(rows, list(self.words), window=self.smooth)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw the columns as the figure's file says."""
        note = with_smoothing(self.note, self.smooth)
        self.draw_table(figure, prepared.table, self.words, title=self.title, note=note, ylabel=self.ylabel)


def draw_quantities(
    figure: Figure,
    table: pd.DataFrame,
    panels: Mapping[str, str],
    *,
    title: str,
    note: str,
    ylabel: str = "",
    log: bool = False,
    level: float | None = None,
    sharey: bool = False,
) -> list[Axes]:
    """Draw a panel a quantity with a line an arm.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        panels: Panel title by quantity.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit; empty if each panel's title says it.
        log: Whether the quantities span decades.
        level: Where to draw a line of reference, or None.
        sharey: Whether the quantities compare: one unit, one scale.
    """
    tables = {words: table[table[QUANTITY] == quantity] for quantity, words in panels.items()}
    return draw_by_arm(
        figure, tables, title=title, note=note, xlabel="step", ylabel=ylabel, log=log, level=level, sharey=sharey
    )


def draw_steepness(
    figure: Figure, table: pd.DataFrame, panels: Mapping[str, str], *, title: str, note: str, ylabel: str
) -> list[Axes]:
    """Draw lengths of the critic's gradient, or bounds of them: :func:`draw_quantities` on one scale, a line at 1."""
    return draw_quantities(
        figure, table, panels, title=title, note=note, ylabel=ylabel, log=True, level=1.0, sharey=True
    )


def draw_networks(
    figure: Figure, table: pd.DataFrame, lines: Mapping[str, str], *, title: str, note: str, ylabel: str
) -> list[Axes]:
    """Draw a panel an arm with a line a quantity, each panel on a scale of its own.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        lines: Words by quantity, two at most: the first solid, the second dashed.
        title: What is shown.
        note: How it was computed.
        ylabel: Quantity and unit.
    """
    looks = dict(zip(lines, (Look(INK, (0, ()), "o"), Look(GREY, (0, (4, 1.5)), "s")), strict=True))
    tables = {str(arm): table[table[ARM] == arm] for arm in arms_of(table)[ARM]}
    curves = {
        arm: [arm_curve(mine[mine[QUANTITY] == name], look) for name, look in looks.items()]
        for arm, mine in tables.items()
    }
    grid = draw_panels(figure, curves, height=2.4, sharey=False)
    set_steps(grid, table)
    for axes, (arm, mine) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves[arm])
    legend = keys({lines[name]: look for name, look in looks.items()}, lone=are_lone(curves))
    head(figure, title, band_note(note, table), legend, xlabel="step", ylabel=ylabel)
    return grid
