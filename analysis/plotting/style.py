"""Style of the figures: one colour and one line style per norm, colours by depth, fonts and sizes.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish. The line styles distinguish the
norms in greyscale. matplotlib's settings change only inside :func:`house_style`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.colors import Colormap, LinearSegmentedColormap

Dashes = tuple[float, tuple[float, ...]]


class Appearance(NamedTuple):
    """Colour, line style and marker of an arm or a layer. Line style and marker distinguish it in greyscale."""

    color: str | tuple[float, float, float, float]
    dashes: Dashes
    marker: str


INK, GREY, PALE, ALARM = "#222222", "#6b6b6b", "#d9d9d9", "#b2182b"
WIDTH = 6.2  # inches: text of 7 points stays legible when the picture is scaled to a column of 3.4
_SOLID: Dashes = (0, ())
_NORMS: dict[str, tuple[str, Dashes]] = {
    "none": ("#555555", (0, (1, 1.2))),
    "bn": ("#0072B2", _SOLID),
    "sn": ("#D55E00", (0, (5, 1.6))),
    "msn": ("#009E73", (0, (5, 1.4, 1, 1.4))),
    "wn": ("#CC79A7", (0, (3, 1.2))),
    "wn_mean": ("#882255", (0, (3, 1.2, 1, 1.2, 1, 1.2))),
    "ln": ("#B79F00", (0, (7, 1.5, 2, 1.5))),
    "in": ("#56B4E9", (0, (2, 1))),
    "sn_beta": ("#E69F00", (0, (6, 1, 2, 1))),
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_OTHERS = ("#56B4E9", "#E69F00", "#882255", "#117733", "#332288", "#AA4499", "#999933", "#661100")
_OTHER_DASHES: tuple[Dashes, ...] = (_SOLID, (0, (5, 1.6)), (0, (5, 1.4, 1, 1.4)), (0, (1, 1.2)))


def norm_style(norm: str, *, place: int = 0) -> tuple[str, Dashes]:
    """Return colour and line style of a norm. For an unknown norm they follow from its place among the arms."""
    norm = norm.removeprefix("released_")
    if norm in _NORMS:
        return _NORMS[norm]
    dashes = _OTHER_DASHES[(place + place // len(_OTHERS)) % len(_OTHER_DASHES)]  # neighbours differ in both
    return _OTHERS[place % len(_OTHERS)], dashes


def marker(place: int) -> str:
    """Return the marker of single points, which have no line style."""
    return _MARKERS[place % len(_MARKERS)]


def tint(color: str, place: int, among: int) -> str:
    """Return a shade of a colour: the arms of one norm share its hue, each lighter than the one before."""
    if among <= 1:
        return color
    share = 0.6 * place / (among - 1)
    red, green, blue = mpl.colors.to_rgb(color)
    return mpl.colors.to_hex((red + (1 - red) * share, green + (1 - green) * share, blue + (1 - blue) * share))


def depth_colormap() -> Colormap:
    """Return the colours of depth, dark at the input: viridis without its palest quarter, which fades on white."""
    return LinearSegmentedColormap.from_list("depth", mpl.colormaps["viridis"].resampled(256)([*range(0, 196, 13)]))


def depth_colors(count: int) -> list[tuple[float, float, float, float]]:
    """Return ``count`` colours from input (dark) to output (light)."""
    colormap = depth_colormap()
    return [colormap(0.5 if count == 1 else i / (count - 1)) for i in range(count)]


def depth_dashes(count: int) -> Sequence[Dashes]:
    """Return a line style for each of a few layers, for greyscale. All lines are solid where the layers are many."""
    styles: tuple[Dashes, ...] = (
        _SOLID,
        (0, (5, 1.5)),
        (0, (4, 1.3, 1, 1.3)),
        (0, (1.2, 1.2)),
        (0, (8, 1.5)),
        (0, (3, 1.3, 1, 1.3, 1, 1.3)),
        (0, (2.4, 1.2)),
        (0, (8, 1.5, 2, 1.5)),
    )
    return [styles[i % len(styles)] if count <= len(styles) else _SOLID for i in range(count)]


_SETTINGS: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a8a8a",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ebebeb",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": "#8a8a8a",
    "ytick.color": "#8a8a8a",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "text.parse_math": False,  # a layer may be named $x
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.6,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # embed TrueType outlines: text stays text, journals accept it
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "meandrift",  # the same figure gives the same file
    "path.simplify": True,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style inside the block. Afterwards matplotlib has its earlier settings again."""
    with mpl.rc_context(_SETTINGS):
        yield
