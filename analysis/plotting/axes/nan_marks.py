"""Marks of NaN and infinite values in a panel: a hatched span from the first such step, and a note."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plotting.axes.curves import Curve, stretches
from analysis.plotting.style import ALARM
from analysis.summaries.transforms import NAN_RUNS, RUNS

_POINTS = 6.5  # font size of the note


def mark_nan(axes: Axes, table: pd.DataFrame, note: str, *, x: str, curves: Sequence[Curve] = ()) -> None:
    """Hatch each stretch of records with NaN or infinite values, and write a note beside the first.

    Args:
        axes: The panel, with its limits set.
        table: The rows of the panel, with ``nan_runs``; nothing is drawn if that is 0 everywhere.
        note: The note, such as ``"NaN in 1 of 10 runs"``.
        x: Column of the abscissa.
        curves: Curves that the note should not cover.
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
    """Write a note left or right of ``x``, from the top to the foot of the panel, where it covers the fewest points."""
    to_scale = axes.transScale + axes.transLimits
    place = float(to_scale.transform((x, axes.get_ylim()[0]))[0])
    lines = note.splitlines()
    width = 0.6 * _POINTS * max(map(len, lines)) / 72 / (axes.bbox.width / axes.figure.dpi)
    height = 1.4 * _POINTS * len(lines) / 72 / (axes.bbox.height / axes.figure.dpi)
    boxes = {
        (left, down): (place - width if left else place, (1.0 - height) * (1.0 - down))
        for down in (0.0, 1.0, 0.25, 0.5, 0.75)  # of equal places the first is taken, so edges come first
        for left in (True, False)
    }
    inside = {corner: at for corner, at in boxes.items() if at[0] >= 0 and at[0] + width <= 1} or boxes
    points = _in_panel(axes, curves)
    left, down = min(inside, key=lambda corner: _covered(points, inside[corner], width, height))
    axes.annotate(
        note,
        (x, 1 - down),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-3 if left else 3, 6 * down - 3),
        textcoords="offset points",
        ha="right" if left else "left",
        va={0.0: "top", 1.0: "bottom"}.get(down, "center"),
        fontsize=_POINTS,
        color=ALARM,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
    )


def _in_panel(axes: Axes, curves: Sequence[Curve]) -> np.ndarray:
    """Return the points of curves and of their survivors as shares of the panel, ``(points, 2)``."""
    shown = [y for curve in curves for y in (curve.y, curve.survivors) if y is not None]
    over = [curve.x for curve in curves for y in (curve.y, curve.survivors) if y is not None]
    points = np.concatenate([np.empty((0, 2)), *(np.column_stack(pair) for pair in zip(over, shown, strict=True))])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (axes.transScale + axes.transLimits).transform(points)


def _covered(points: np.ndarray, corner: tuple[float, float], width: float, height: float) -> int:
    (left, foot), (across, up) = corner, points.T
    return int(((across >= left) & (across <= left + width) & (up >= foot) & (up <= foot + height)).sum())


def mark_nan_share(axes: Axes, lines: Sequence[str]) -> None:
    """Write a note of NaN values into the upper left corner of a panel without an axis of steps."""
    if lines:
        axes.annotate(
            "\n".join(lines),
            (0.02, 0.97),
            xycoords="axes fraction",
            va="top",
            fontsize=_POINTS,
            color=ALARM,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
        )


def runs_with_nan(table: pd.DataFrame) -> str:
    """Return the number of runs that were not finite somewhere, with the number of all runs, for :func:`mark_nan`."""
    worst, runs = table.sort_values(NAN_RUNS)[[NAN_RUNS, RUNS]].iloc[-1]
    of = f" in\n{worst} of {runs} runs" if runs > 1 else ""
    return f"NaN{of}"
