"""The grid of panels of a figure, and the titles of the panels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.style import WIDTH

MOST_PANELS, MOST_COLUMNS = 24, 4
SMALL = 6.6  # points of a title that would not fit otherwise


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
    """Return a named panel for each layer and arm; a column per arm, or a column per layer if the arms are many."""
    if len(arms) <= MOST_COLUMNS:
        places, columns = [(layer, arm) for layer in layers for arm in arms], len(arms)
    else:
        places, columns = [(layer, arm) for arm in arms for layer in layers], len(layers) if len(layers) > 1 else 3
    grid = panels(figure, len(places), height=height, columns=columns, sharex=sharex, sharey=sharey)
    for axes, (layer, arm) in zip(grid, places, strict=True):
        name_panel(axes, layer, arm=arm)
    return dict(zip(places, grid, strict=True))


def name_panel(axes: Axes, name: str, *, arm: str = "") -> None:
    """Write a panel's title.

    A layer name that is too long loses its beginning, because its end is specific. Words that are too long for one line
    go on two lines.

    An arm stands before the name, or on a line of its own if both do not fit.

    >>> shortened("features.denseblock2.denselayer12.conv1", 20)
    '…denselayer12.conv1'
    """
    spec = axes.get_subplotspec()
    across = spec.get_gridspec().ncols if spec is not None else 1
    room = (WIDTH - 0.9) / across
    most, most_small = int(room / 0.082), int(room / 0.064)  # inches per bold letter of 8.5 and 6.6 points
    together = f"{arm}: {name}" if arm else name
    if arm and len(together) > most:
        size = SMALL if len(arm) > most else None
        axes.set_title(
            f"{_on_two_lines(arm, most_small)}\n{shortened(name, most_small if size else most)}", fontsize=size
        )
    elif len(together) > most and " " in together:  # words, not the name of a layer
        axes.set_title(_on_two_lines(together, most_small), fontsize=SMALL)
    else:
        axes.set_title(shortened(together, most))


def _on_two_lines(words: str, most: int) -> str:
    """Return words on at most two lines. An arm too long for them loses its end, because it begins with its norm."""
    lines = textwrap.wrap(words, most) or [""]
    return "\n".join(lines if len(lines) <= 2 else [lines[0], f"{lines[1][: most - 1]}…"])


def shortened(name: str, most: int) -> str:
    """Return a dotted name of at most ``most`` letters: whole parts are dropped from its beginning, then letters."""
    if len(name) <= most:
        return name
    start = len(name) - most + 1
    tail = name[start:]
    _, dot, rest = tail.partition(".")
    cut_inside = name[start - 1] != "."
    return f"…{rest}" if cut_inside and dot and len(rest) >= most // 2 else f"…{tail}"
