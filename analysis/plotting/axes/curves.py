"""Curves over steps with bands. A gap stays a gap, and a single value is a dot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.typing import ColorType

from analysis.plotting.style import Dashes

FEW = 8  # most curves whose single points are large enough to show their markers
HALF_WIDTH_OF_ONE_STEP = 1.0  # half the axis of a store with a single step, in steps
LINES, RAW_LINES = "lines", "raw lines"  # names the drawn lines among a panel's collections
_SOLID: Dashes = (0, ())


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        x: Abscissae, ascending.
        y: Ordinates; not finite where there is nothing to draw.
        color: Colour of line, band and markers.
        dashes: Line style.
        width: Line width in points.
        marker: Marker of points without a neighbour.
        half_band: Half-height of the band around the line, or None.
        edges: Lower and upper edge of a band that is not symmetric, or None.
        outlined: Whether the band has lines at its edges, so that overlapping bands can be told apart.
        survivors: Ordinates that are drawn thin and dotted where ``y`` is not finite.
        raw: Recorded ordinates, drawn thin and pale below the line if ``y`` was smoothed.
    """

    x: np.ndarray
    y: np.ndarray
    color: ColorType
    dashes: Dashes = _SOLID
    width: float = 1.3
    marker: str = "o"
    half_band: np.ndarray | None = None
    edges: tuple[np.ndarray, np.ndarray] | None = None
    outlined: bool = False
    survivors: np.ndarray | None = None
    raw: np.ndarray | None = None

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper edge of the band; None without one."""
        if self.edges is not None or self.half_band is None:
            return self.edges
        return self.y - self.half_band, self.y + self.half_band


def stretches(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return the unbroken finite pieces of a line, each ``(points, 2)``; a gap is never bridged."""
    finite = np.isfinite(y)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], finite.view(np.int8), [0]])))
    points = np.column_stack([x, y])
    return [points[start:stop] for start, stop in zip(ends[::2], ends[1::2], strict=True)]


def draw_curves(axes: Axes, curves: Sequence[Curve], *, log: bool = False) -> None:
    """Draw curves with their bands into a panel.

    Points without a neighbour (a run of one step, a single value between gaps) become dots, so that they are seen. If
    all curves have only one step, the dots stand side by side.
    """
    curves = _side_by_side(curves)
    for curve in curves:
        _draw_band(axes, curve, log=log)
        _draw_raw(axes, curve, log=log)
    shown = [(curve, _drawable(curve.y, log=log)) for curve in curves]
    pieces = [(piece, curve) for curve, y in shown for piece in stretches(curve.x, y)]
    _draw_lines(axes, pieces)
    _draw_dots(axes, pieces, curves)
    _draw_survivors(axes, curves, log=log)
    if log:
        axes.set_yscale("log")


def _drawable(y: np.ndarray, *, log: bool) -> np.ndarray:
    return np.where(y > 0, y, np.nan) if log else y


def extent(curves: Sequence[Curve], *, log: bool = False) -> np.ndarray:
    """Return every ordinate that limits should hold: lines, survivors and, on a linear axis, bands."""
    parts = [np.array([])]
    for curve in curves:
        parts.append(curve.y)
        if curve.survivors is not None:
            parts.append(curve.survivors)
        if curve.raw is not None:
            parts.append(curve.raw)
        if curve.band is not None and not log:
            parts += list(curve.band)
    return np.concatenate(parts)


def _draw_band(axes: Axes, curve: Curve, *, log: bool) -> None:
    if curve.band is None or not np.nanmax(curve.band[1] - curve.band[0], initial=0.0) > 0:
        return
    lower, upper = curve.band
    if log:  # as many decades below the line as above it, because a negative edge cannot be drawn
        with np.errstate(divide="ignore", invalid="ignore"):
            lower = curve.y**2 / upper if curve.edges is None else lower
    if len(curve.x) == 1:
        axes.vlines(curve.x, lower, upper, color=[curve.color], alpha=0.5, linewidth=2)
        return
    shade = 0.06 if curve.outlined else 0.18
    axes.fill_between(curve.x, lower, upper, where=np.isfinite(curve.y), color=curve.color, alpha=shade, linewidth=0)
    if curve.outlined:
        for edge in (lower, upper):
            axes.plot(curve.x, edge, color=curve.color, linestyle=curve.dashes, linewidth=0.6)


def _draw_raw(axes: Axes, curve: Curve, *, log: bool) -> None:
    if curve.raw is None:
        return
    pieces = [piece for piece in stretches(curve.x, _drawable(curve.raw, log=log)) if len(piece) > 1]
    axes.add_collection(LineCollection(pieces, colors=[curve.color], alpha=0.3, linewidths=[0.5], gid=RAW_LINES))


def _draw_lines(axes: Axes, pieces: Iterable[tuple[np.ndarray, Curve]]) -> None:
    lines = [(piece, curve) for piece, curve in pieces if len(piece) > 1]
    if lines:
        axes.add_collection(
            LineCollection(
                [piece for piece, _ in lines],
                colors=[curve.color for _, curve in lines],
                linestyles=[curve.dashes for _, curve in lines],
                linewidths=[curve.width for _, curve in lines],
                capstyle="butt",
                gid=LINES,
            )
        )


def _draw_dots(axes: Axes, pieces: Iterable[tuple[np.ndarray, Curve]], curves: Sequence[Curve]) -> None:
    size = 20 if len(curves) <= FEW else 8
    for curve in curves:
        dots = [piece[0] for piece, owner in pieces if owner is curve and len(piece) == 1]
        if dots:
            x, y = np.array(dots).T
            axes.scatter(x, y, s=size, color=[curve.color], marker=curve.marker, linewidths=0, zorder=3)


def _side_by_side(curves: Sequence[Curve]) -> Sequence[Curve]:
    steps = np.unique(np.concatenate([curve.x for curve in curves])) if curves else np.array([])
    if len(steps) != 1 or len(curves) == 1:
        return curves
    places = np.linspace(-0.6, 0.6, len(curves)) * HALF_WIDTH_OF_ONE_STEP
    return [replace(curve, x=curve.x + place) for curve, place in zip(curves, places, strict=True)]


def _draw_survivors(axes: Axes, curves: Sequence[Curve], *, log: bool) -> None:
    for curve in curves:
        if curve.survivors is None:
            continue
        left = _drawable(np.where(np.isfinite(curve.y), np.nan, curve.survivors), log=log)
        pieces = [piece for piece in stretches(curve.x, left) if len(piece) > 1]
        if pieces:
            style = LineCollection(pieces, colors=[curve.color], linestyles=[(0, (1, 1.5))], linewidths=[0.8])
            axes.add_collection(style)
