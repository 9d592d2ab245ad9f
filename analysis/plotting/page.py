"""The page a figure is drawn on: title, note and legend above, a grid of panels below, no overlap between them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plotting.style import GREY, WIDTH, Look
from probes.schema import Column

_MARGIN = 0.08  # inches, left of the text
_TITLE, _NOTE, _LEGEND = 0.24, 0.19, 0.21  # inches a row
_BELOW = 0.45  # inches of ticks and label under the panels
_NOTE_WIDTH = 130  # letters a line
MOST_PANELS, MOST_COLUMNS = 24, 4

_WORDS = {
    "grad": "gradient",
    "var": "variance",
    "l2": "L2",
    "singular value": "singular value",
    "lr": "learning rate",
}


def panels(
    figure: Figure, count: int, *, height: float = 1.75, columns: int = 3, sharex: bool = True, sharey: bool = True
) -> list[Axes]:
    """Return ``count`` panels in rows of at most ``columns``; unused places of the last row stay empty.

    Raises:
        ValueError: More panels than a page holds legibly.
    """
    if count > MOST_PANELS:
        raise ValueError(
            f"{count} panels do not fit a page legibly; choose at most {MOST_PANELS} with layers= or runs="
        )
    across = columns if count % columns == 0 or count > columns + 1 else min(count, columns + 1)
    across = min(across, count)
    down = -(-count // across)
    figure.set_size_inches(WIDTH, down * (height if count > 1 else 1.5 * height) + 0.75)
    grid = figure.subplots(down, across, squeeze=False, sharex=sharex, sharey=sharey)
    every = list(grid.flat)
    for place, axes in enumerate(every):
        axes.label_outer() if sharex and sharey else None
        if place >= count:
            axes.set_visible(False)
        elif place >= count - across:
            axes.tick_params(labelbottom=True)  # the lowest panel of its column, even over an empty place
    return every[:count]


def layer_arm_panels(
    figure: Figure,
    layers: Sequence[str],
    arms: Sequence[str],
    *,
    height: float = 1.75,
    sharex: bool = True,
    sharey: bool = True,
) -> dict[tuple[str, str], Axes]:
    """Return a named panel for each layer and arm; a column an arm, or a column a layer where the arms are many."""
    if len(arms) <= MOST_COLUMNS:
        places, columns = [(layer, arm) for layer in layers for arm in arms], len(arms)
    else:
        places, columns = [(layer, arm) for arm in arms for layer in layers], len(layers) if len(layers) > 1 else 3
    grid = panels(figure, len(places), height=height, columns=columns, sharex=sharex, sharey=sharey)
    for axes, (layer, arm) in zip(grid, places, strict=True):
        name_panel(axes, layer, arm=arm)
    return dict(zip(places, grid, strict=True))


def name_panel(axes: Axes, name: str, *, arm: str = "") -> None:
    """Write a panel's title; one too long for the panel loses its beginning, for the end of a layer's name tells most.

    An arm stands before the name, or on a line of its own where both do not fit.

    >>> shortened("features.denseblock2.denselayer12.conv1", 20)
    '…denselayer12.conv1'
    """
    spec = axes.get_subplotspec()
    across = spec.get_gridspec().ncols if spec is not None else 1
    most = int((WIDTH - 0.9) / across / 0.082)  # inches a bold letter of 8.5 points
    together = f"{arm}: {name}" if arm else name
    if arm and len(together) > most:
        axes.set_title(f"{shortened(arm, most)}\n{shortened(name, most)}")
    else:
        axes.set_title(shortened(together, most))


def shortened(name: str, most: int) -> str:
    """Return a dotted name of at most ``most`` letters: whole parts are dropped from its beginning, then letters."""
    if len(name) <= most:
        return name
    start = len(name) - most + 1
    tail = name[start:]
    _, dot, rest = tail.partition(".")
    cut_inside = name[start - 1] != "."
    return f"…{rest}" if cut_inside and dot and len(rest) >= most // 2 else f"…{tail}"


def head(
    figure: Figure,
    title: str,
    note: str = "",
    legend: Sequence[Artist] = (),
    *,
    xlabel: str = "",
    ylabel: str = "",
) -> None:
    """Write title, note and legend in a strip above the panels, and what all panels have on their axes beside them."""
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


def key(label: str, color: object, linestyle: object = "-", **settings: object) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], color=color, linestyle=linestyle, label=label, **settings)  # type: ignore[arg-type]


def keys(looks: Mapping[str, Look], *, lone: bool = False) -> list[Line2D]:
    """Return the legend entries of looks by name: lines, or the markers of ``lone`` points."""
    return [
        key(name, look.color, "", marker=look.marker, markersize=4.5) if lone else key(name, look.color, look.dashes)
        for name, look in looks.items()
    ]


def in_words(name: str) -> str:
    """Return a column's name as it is spoken: ``grad_var`` is "gradient variance"."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def axis_label(column: Column) -> str:
    """Return a column's name and unit for an axis; a pure number has none."""
    unit = "" if column.unit in ("", "1") else f" [{column.unit}]"
    return in_words(column.name) + unit


def definition(column: Column) -> str:
    """Return the formula and the tensor of a column, as the store gives them."""
    tensor = f"  ({column.tensor})" if column.tensor else ""
    return f"{column.formula}{tensor}" if column.formula else in_words(column.name)


def with_smoothing(note: str, window: int) -> str:
    """Return a note that owns up to smoothing."""
    return note if window == 1 else f"{note}; trailing mean of {window} records"
