"""Curves over steps: gaps stay gaps and are marked, outliers stand at the edge and are counted, bands show spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.typing import ColorType

from analysis.style import ALARM, GREY, Dashes
from analysis.transforms import NAN_RUNS, RUNS

HALF_WIDTH_OF_ONE_STEP = 1.0  # half the axis of a store with a single step, in steps
_SOLID: Dashes = (0, ())
_MARKERS = ("o", "s", "^", "D", "v", "P")  # as line styles do, they tell the norms apart in greyscale


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        x: Abscissae, ascending.
        y: Ordinates; not finite where there is nothing to draw.
        color: Of line, band and markers.
        dashes: Line style.
        width: In points.
        half_band: Half-height of the band around the line, or None.
        survivors: Drawn thin and dotted where ``y`` is not finite but this is.
    """

    x: np.ndarray
    y: np.ndarray
    color: ColorType
    dashes: Dashes = _SOLID
    width: float = 1.3
    half_band: np.ndarray | None = None
    survivors: np.ndarray | None = None


def stretches(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return the unbroken finite pieces of a line, each ``(points, 2)``; a gap is never bridged."""
    finite = np.isfinite(y)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], finite.view(np.int8), [0]])))
    points = np.column_stack([x, y])
    return [points[start:stop] for start, stop in zip(ends[::2], ends[1::2], strict=True)]


def draw_curves(axes: Axes, curves: Sequence[Curve], *, log: bool = False) -> None:
    """Draw curves with their bands into a panel.

    Points without a neighbour (a run of one step, a lone value between gaps) become dots, so that they are seen. Where
    all there is is one step, they stand side by side.
    """
    curves = _side_by_side(curves)
    for curve in curves:
        _draw_band(axes, curve, log=log)
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
        if curve.half_band is not None and not log:
            parts += [curve.y - curve.half_band, curve.y + curve.half_band]
    return np.concatenate(parts)


def _draw_band(axes: Axes, curve: Curve, *, log: bool) -> None:
    if curve.half_band is None or not np.nanmax(curve.half_band, initial=0.0) > 0:
        return
    lower, upper = curve.y - curve.half_band, curve.y + curve.half_band
    if log:  # a band that reaches zero has no lower edge on a logarithmic axis: let it run out of the panel
        lower = np.maximum(lower, np.nanmin(np.where(curve.y > 0, curve.y, np.nan), initial=np.inf) * 1e-6)
    if len(curve.x) == 1:
        axes.vlines(curve.x, lower, upper, color=[curve.color], alpha=0.5, linewidth=2)
        return
    axes.fill_between(curve.x, lower, upper, where=np.isfinite(curve.y), color=curve.color, alpha=0.18, linewidth=0)


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
            )
        )


def _draw_dots(axes: Axes, pieces: Iterable[tuple[np.ndarray, Curve]], curves: Sequence[Curve]) -> None:
    few = len(curves) <= len(_MARKERS)
    for place, curve in enumerate(curves):
        dots = [piece[0] for piece, owner in pieces if owner is curve and len(piece) == 1]
        if dots:
            x, y = np.array(dots).T
            marker = _MARKERS[place] if few else "o"
            axes.scatter(x, y, s=20 if few else 8, color=[curve.color], marker=marker, linewidths=0, zorder=3)


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


def mark_nan(axes: Axes, table: pd.DataFrame, note: str, *, x: str, curves: Sequence[Curve] = ()) -> None:
    """Hatch each stretch of records at which something was NaN or infinite, and say what beside the first.

    Args:
        axes: The panel, its limits set.
        table: The rows of the panel, with ``nan_runs``; nothing is drawn if that is 0 everywhere.
        note: What was not finite, ``"NaN in 1 of 10 runs"``.
        x: Column of the abscissa.
        curves: What the note should stand clear of, above or below.
    """
    broken = table.groupby(x)[NAN_RUNS].max().gt(0)
    spans = stretches(broken.index.to_numpy("float64"), np.where(broken, 0.0, np.nan))
    for span in spans:
        first, last = span[0, 0], span[-1, 0]
        axes.axvspan(first, last, facecolor=ALARM, alpha=0.07, hatch="////", edgecolor=ALARM, linewidth=0, zorder=0)
        axes.axvline(first, color=ALARM, linewidth=0.9, zorder=1, gid="nan")
    if spans:
        _write_beside(axes, float(spans[0][0, 0]), note, curves)


def _write_beside(axes: Axes, x: float, note: str, curves: Sequence[Curve]) -> None:
    to_the_left = x > sum(axes.get_xlim()) / 2
    below = _crowded_above(axes, x, curves, to_the_left=to_the_left)
    axes.annotate(
        note,
        (x, 0 if below else 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-3 if to_the_left else 3, 3 if below else -3),
        textcoords="offset points",
        ha="right" if to_the_left else "left",
        va="bottom" if below else "top",
        fontsize=6.5,
        color=ALARM,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
    )


def _crowded_above(axes: Axes, x: float, curves: Sequence[Curve], *, to_the_left: bool) -> bool:
    """Tell whether more points lie in the upper third than in the lower one, where a note beside ``x`` would stand."""
    points = np.concatenate([np.empty((0, 2)), *(np.column_stack([curve.x, curve.y]) for curve in curves)])
    with np.errstate(invalid="ignore"):
        across, up = (axes.transScale + axes.transLimits).transform(points).T
        place = float((axes.transScale + axes.transLimits).transform((x, axes.get_ylim()[0]))[0])
        near = (
            (across >= place - 0.5) & (across <= place) if to_the_left else (across >= place) & (across <= place + 0.5)
        )
        return bool((up[near] > 2 / 3).sum() > (up[near] < 1 / 3).sum())


def robust_limits(values: np.ndarray, *, log: bool = False) -> tuple[float, float] | None:
    """Return axis limits that a few outliers do not stretch; None without a finite value.

    The limits hold every value, unless the whole range is more than six times that between the 2nd and the 98th
    percentile: then they hold that range and half of it more on the side that is cut. On a logarithmic axis
    all of this is meant in decades and only positive values count.
    """
    usable = values[np.isfinite(values) & ((values > 0) if log else True)].astype("float64")
    if not usable.size:
        return None
    scaled = np.log10(usable) if log else usable
    low, high = float(scaled.min()), float(scaled.max())
    inner_low, inner_high = (float(q) for q in np.percentile(scaled, [2, 98]))
    inner = inner_high - inner_low
    if inner > 0 and high - low > 6 * inner:
        low, high = max(low, inner_low - inner / 2), min(high, inner_high + inner / 2)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 0.05
    low, high = low - margin, high + margin
    return (10**low, 10**high) if log else (low, high)


def set_limits(axes: Axes, limits: tuple[float, float] | None, curves: Sequence[Curve]) -> None:
    """Set the vertical limits; mark at the edge, and count, what lies outside.

    On a logarithmic axis a value of 0 or less lies below.
    """
    if limits is None:
        return
    axes.set_ylim(*limits)
    for edge, marker, beyond in ((0.0, "v", _below), (1.0, "^", _above)):
        outside = [(x, c.color) for c in curves for x in c.x[beyond(c.y, limits)]]
        if outside:
            axes.scatter(
                [x for x, _ in outside],
                [edge] * len(outside),
                c=[color for _, color in outside],
                marker=marker,
                s=12,
                linewidths=0,
                clip_on=False,
                zorder=4,
                transform=axes.get_xaxis_transform(),
            )
            extreme = _extreme(curves, limits, above=edge == 1.0)
            axes.annotate(
                f"{len(outside)} {'above, up' if edge else 'below, down'} to {extreme:.2g}",
                (0.99, 0.97 if edge else 0.03),
                xycoords="axes fraction",
                ha="right",
                va="top" if edge else "bottom",
                fontsize=6.5,
                color=GREY,
            )


def _below(y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.isfinite(y) & (y < limits[0])


def _above(y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.isfinite(y) & (y > limits[1])


def _extreme(curves: Sequence[Curve], limits: tuple[float, float], *, above: bool) -> float:
    outside = np.concatenate([c.y[_above(c.y, limits) if above else _below(c.y, limits)] for c in curves])
    return float(outside.max() if above else outside.min())


def runs_with_nan(table: pd.DataFrame) -> str:
    """Return how many of how many runs were not finite somewhere, for :func:`mark_nan`."""
    worst, runs = table.sort_values(NAN_RUNS)[[NAN_RUNS, RUNS]].iloc[-1]
    of = f" in\n{worst} of {runs} runs" if runs > 1 else ""
    return f"NaN{of}"
