"""Base of the GAN figures: quantities of whole networks over steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.nan_marks import mark_nan
from analysis.plotting.column_words import with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText, legend_entries, write_title
from analysis.plotting.panels.arm_curves import arm_curve, band_note, whose_nan
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.plotting.style import GREY, INK, Appearance
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.transforms import over_runs, smooth
from probes.schema import RUN, STEP, STEPS

QUANTITY = "quantity"
GRADIENT_UNIT = "[output / pixel value]"  # of the critic's gradient by its input, and of bounds on this gradient


def by_quantity(rows: pd.DataFrame, columns: Sequence[str], *, window: int = 1) -> pd.DataFrame:
    """Return columns over the runs of each arm: a row for each quantity, arm and step.

    Args:
        rows: Rows of table ``steps`` with the columns measured.
        columns: The quantities.
        window: Records of a trailing mean; 1 smooths nothing.
    """
    rows = rows.sort_values(STEP, kind="stable")
    parts = []
    for column in columns:
        smoothed = rows.assign(**{column: smooth(rows, column=column, window=window, by=[RUN])})
        parts.append(over_runs(smoothed, column=column, by=(STEP,)).assign(**{QUANTITY: column}))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class GanCurves(FigureSpec):
    """Columns of table ``steps`` over steps. A figure names its columns, their words and the function that draws.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
        words: The columns, with their names in the figure.
        note: How to read the columns.
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
        """Draw the columns with ``draw_table``."""
        note = with_smoothing(self.note, self.smooth)
        self.draw_table(figure, prepared.table, self.words, PanelText(self.title, note, self.ylabel))


def draw_quantities(
    figure: Figure,
    table: pd.DataFrame,
    panels: Mapping[str, str],
    text: PanelText,
    *,
    log: bool = False,
    sharey: bool = False,
) -> list[Axes]:
    """Draw one panel per quantity, with one line per arm.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        panels: Panel title by quantity.
        text: Title, note, axis labels and line of reference.
        log: Whether the quantities span decades.
        sharey: Whether the quantities have one unit and one scale.
    """
    tables = {words: table[table[QUANTITY] == quantity] for quantity, words in panels.items()}
    return draw_by_quantity(figure, tables, text, log=log, sharey=sharey)


def draw_steepness(figure: Figure, table: pd.DataFrame, panels: Mapping[str, str], text: PanelText) -> list[Axes]:
    """Draw lengths of the critic's gradient, or bounds of them: :func:`draw_quantities` on one scale, a line at 1."""
    return draw_quantities(figure, table, panels, replace(text, level=1.0), log=True, sharey=True)


def draw_networks(figure: Figure, table: pd.DataFrame, lines: Mapping[str, str], text: PanelText) -> list[Axes]:
    """Draw one panel per arm, with one line per quantity; each panel has its own scale.

    Args:
        figure: An empty figure.
        table: :func:`by_quantity`.
        lines: Words by quantity, two at most: the first solid, the second dashed.
        text: Title, note and axis labels.
    """
    solid, dashed = Appearance(INK, (0, ()), "o"), Appearance(GREY, (0, (4, 1.5)), "s")
    appearances = dict(zip(lines, (solid, dashed), strict=True))
    tables = {str(arm): table[table[ARM] == arm] for arm in arms_of(table)[ARM]}
    curves = {
        arm: [arm_curve(mine[mine[QUANTITY] == name], appearance) for name, appearance in appearances.items()]
        for arm, mine in tables.items()
    }
    grid = draw_panels(figure, curves, height=2.4, sharex=False, sharey=False)
    for axes, mine in zip(grid, tables.values(), strict=True):
        set_steps([axes], mine)  # each panel has its own range: no short training stands in a half-empty panel
    for axes, (arm, mine) in zip(grid, tables.items(), strict=True):
        mark_nan(axes, mine, whose_nan(mine), x=STEP, curves=curves[arm])
    legend = legend_entries(
        {lines[name]: appearance for name, appearance in appearances.items()}, lone=are_lone(curves)
    )
    note = band_note(text.note, table)
    write_title(figure, text.title, note, legend, xlabel=text.xlabel, ylabel=text.ylabel)
    return grid
