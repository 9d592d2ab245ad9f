"""The text around the panels of a figure: title, note, legend and colour bar."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting.style import GREY, Appearance

_MARGIN = 0.08  # inches, left of the text
_TITLE, _NOTE, _LEGEND = 0.24, 0.19, 0.21  # inches a row
_BELOW = 0.45  # inches of ticks and label under the panels
_NOTE_WIDTH = 130  # letters a line


def write_title(
    figure: Figure,
    title: str,
    note: str = "",
    legend: Sequence[Artist] = (),
    *,
    xlabel: str = "",
    ylabel: str = "",
) -> None:
    """Write title, note and legend in a strip above the panels, and the shared axis labels beside them."""
    width, height = figure.get_size_inches()
    rows, lines = _legend_rows(legend, width), textwrap.wrap(note, _NOTE_WIDTH)
    strip = _TITLE + _NOTE * len(lines) + _LEGEND * len(rows) + 0.03
    height += strip - 0.4
    figure.set_size_inches(width, height)
    left = _MARGIN / width
    figure.text(left, 1 - 0.06 / height, title, fontsize=10, fontweight="bold", va="top")
    for place, line in enumerate(lines):
        figure.text(left, 1 - (0.06 + _TITLE + place * _NOTE) / height, line, fontsize=7.5, color=GREY, va="top")
    top = 0.06 + _TITLE + _NOTE * len(lines)
    for place, row in enumerate(rows):
        figure.legend(
            handles=list(row),
            loc="upper left",
            bbox_to_anchor=(left + 0.02 / width, 1 - (top + place * _LEGEND - 0.03) / height),
            ncols=len(row),
            borderaxespad=0.0,
            borderpad=0.0,
            columnspacing=1.6,
            handletextpad=0.6,
        ).set_in_layout(False)
    below = _BELOW if xlabel else 0.0
    if xlabel:
        figure.supxlabel(xlabel, fontsize=8)
    if ylabel:
        figure.supylabel(ylabel, fontsize=8, y=(below + height - strip) / 2 / height)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - strip / height), w_pad=0.05, h_pad=0.04)


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


def color_bar(figure: Figure, colors: ScalarMappable, grid: Sequence[Axes], label: str) -> None:
    """Add a slim colour bar right of all panels, as tall as they are."""
    tall = 13 * figure.get_size_inches()[1]  # more than the panels are: the layout cuts it to them
    bar = figure.colorbar(colors, ax=list(grid), aspect=max(30.0, tall), pad=0.015, fraction=0.04)
    bar.set_label(label, fontsize=7.5)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)


def legend_entry(label: str, color: object, linestyle: object = "-", **settings: object) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], color=color, linestyle=linestyle, label=label, **settings)  # type: ignore[arg-type]


def legend_entries(appearances: Mapping[str, Appearance], *, lone: bool = False) -> list[Line2D]:
    """Return the legend entries of appearances by name: lines, or the markers of ``lone`` points."""
    if lone:
        return [legend_entry(name, it.color, "", marker=it.marker, markersize=4.5) for name, it in appearances.items()]
    return [legend_entry(name, it.color, it.dashes) for name, it in appearances.items()]
