"""Where something was NaN or infinite, marked in the panel: hatched from its first step, with a word beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curves import Curve, stretches
from analysis.style import ALARM
from analysis.transforms import NAN_RUNS, RUNS


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


def runs_with_nan(table: pd.DataFrame) -> str:
    """Return how many of how many runs were not finite somewhere, for :func:`mark_nan`."""
    worst, runs = table.sort_values(NAN_RUNS)[[NAN_RUNS, RUNS]].iloc[-1]
    of = f" in\n{worst} of {runs} runs" if runs > 1 else ""
    return f"NaN{of}"
