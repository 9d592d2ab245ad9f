"""The text around the panels of a figure: title, message, setting, formula, legend and colour bar."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting.style import GREY, INK, Appearance
from analysis.plotting.tick_labels import scientific

_MARGIN = 0.08  # inches, left of the text
_TITLE, _NOTE, _SETTING, _FORMULA, _LEGEND = 0.25, 0.175, 0.175, 0.26, 0.21  # inches per row
_BELOW = 0.45  # inches of ticks and label under the panels
_NOTE_WIDTH, _SETTING_WIDTH = 98, 124  # letters per line
_SETTING_MARK = "setting"  # names the empty row that write_setting fills


@dataclass(frozen=True)
class PanelText:
    """Texts of a figure whose panels share one quantity.

    Attributes:
        title: Title of the figure.
        note: The message, and how the quantity is to be read, in words.
        ylabel: Quantity and unit; empty if the titles of the panels give them.
        xlabel: Abscissa and unit.
        level: Value of the line of reference, or None for no line.
        formula: Definition of the quantity as mathtext.
    """

    title: str
    note: str
    ylabel: str = ""
    xlabel: str = "step"
    level: float | None = None
    formula: str = ""


def write_title(
    figure: Figure,
    title: str,
    note: str = "",
    legend: Sequence[Artist] = (),
    *,
    formula: str = "",
    xlabel: str = "",
    ylabel: str = "",
) -> None:
    """Write title, note, formula and legend in a strip above the panels, and the shared axis labels beside them.

    Args:
        figure: A figure with its panels drawn; it grows by the strip.
        title: The subject, in bold.
        note: The message and how to read it, in words.
        legend: Entries of the legend.
        formula: Definition of the quantity as mathtext, small.
        xlabel: Label of the abscissa that all panels share.
        ylabel: Label of the ordinate that all panels share.
    """
    width, height = figure.get_size_inches()
    rows, lines = _legend_rows(legend, width), textwrap.wrap(note, _NOTE_WIDTH)
    heights = [_TITLE, *[_NOTE] * len(lines), _SETTING, *([_FORMULA] if formula else []), *[_LEGEND] * len(rows)]
    strip = sum(heights) + 0.06
    height += strip - 0.4
    figure.set_size_inches(width, height)
    left, top = _MARGIN / width, 0.06

    def write(text: str, row: float, size: float, **style: Any) -> None:
        nonlocal top
        figure.text(left, 1 - top / height, text, fontsize=size, va="top", **style)
        top += row

    write(title, _TITLE, 10, fontweight="bold")
    for line in lines:
        write(line, _NOTE, 8, color=INK)
    write("", _SETTING, 7, color=GREY, gid=_SETTING_MARK)
    if formula:
        write(formula, _FORMULA, 8, color=GREY, parse_math=True)  # the style parses no other text as mathtext
    for row in rows:
        _draw_legend(figure, row, left + 0.02 / width, 1 - (top + 0.02) / height)
        top += _LEGEND
    below = _BELOW if xlabel else 0.0
    if xlabel:
        figure.supxlabel(xlabel, fontsize=8)
    if ylabel:
        figure.supylabel(ylabel, fontsize=8, y=(below + height - strip) / 2 / height)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - strip / height), w_pad=0.05, h_pad=0.04)


def write_setting(figure: Figure, setting: str) -> None:
    """Write network, data, rate, batch and number of seeds into the row that :func:`write_title` left for them."""
    for text in figure.texts:
        if text.get_gid() == _SETTING_MARK:
            text.set_text(textwrap.shorten(setting, _SETTING_WIDTH, placeholder=" …"))


def _draw_legend(figure: Figure, row: Sequence[Artist], x: float, y: float) -> None:
    figure.legend(
        handles=list(row),
        loc="upper left",
        bbox_to_anchor=(x, y),
        ncols=len(row),
        borderaxespad=0.0,
        borderpad=0.0,
        columnspacing=1.6,
        handletextpad=0.6,
    ).set_in_layout(False)


def _legend_rows(handles: Sequence[Artist], width: float) -> list[list[Artist]]:
    rows: list[list[Artist]] = []
    room = 0.0
    for handle in handles:
        needed = 0.6 + 0.066 * len(str(handle.get_label()))  # inches at 7.5 points
        if room < needed:
            rows.append([])
            room = width - 2 * _MARGIN
        rows[-1].append(handle)
        room -= needed
    return rows


def color_bar(
    figure: Figure, colors: ScalarMappable, grid: Sequence[Axes], label: str, *, extend: str = "neither"
) -> None:
    """Add a slim colour bar right of all panels, as tall as they are."""
    tall = 13 * figure.get_size_inches()[1]  # taller than the panels; the layout cuts it to their height
    bar = figure.colorbar(colors, ax=list(grid), aspect=max(30.0, tall), pad=0.015, fraction=0.04, extend=extend)
    bar.set_label(label, fontsize=7.5)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)
    if isinstance(colors.norm, SymLogNorm):  # linear up to its threshold, where logarithmic ticks would crowd
        ends, threshold = float(colors.norm.vmax or 1.0), float(colors.norm.linthresh)
        marks = [-ends, -threshold, 0.0, threshold, ends]
        bar.set_ticks(marks, labels=[scientific(float(f"{mark:.0e}")) for mark in marks])
        bar.minorticks_off()


def legend_entry(label: str, color: object, linestyle: object = "-", **settings: object) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], color=color, linestyle=linestyle, label=label, **settings)  # type: ignore[arg-type]


def legend_entries(appearances: Mapping[str, Appearance], *, lone: bool = False) -> list[Line2D]:
    """Return the legend entries of appearances by name: lines, or the markers of ``lone`` points."""
    if lone:
        return [legend_entry(name, it.color, "", marker=it.marker, markersize=4.5) for name, it in appearances.items()]
    return [legend_entry(name, it.color, it.dashes) for name, it in appearances.items()]
