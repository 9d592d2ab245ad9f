"""Axis limits that ignore outliers. Values outside are marked at the edge and counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.plotting.axes.curves import LINES, Curve, extent
from analysis.plotting.style import GREY


def robust_limits(values: np.ndarray, *, log: bool = False, cut: bool = True) -> tuple[float, float] | None:
    """Return axis limits that a few outliers do not stretch; None without a finite value.

    The limits hold every value, unless the whole range is more than six times the range between the 2nd and the 98th
    percentile. Then they hold this inner range and half of it more on the side that is cut. On a logarithmic axis all
    ranges are in decades, and only positive values count. Without ``cut`` the limits hold every value.
    """
    usable = values[np.isfinite(values) & ((values > 0) if log else True)].astype("float64")
    if not usable.size:
        return None
    scaled = np.log10(usable) if log else usable
    low, high = float(scaled.min()), float(scaled.max())
    inner_low, inner_high = (float(q) for q in np.percentile(scaled, [2, 98]))
    inner = inner_high - inner_low
    if cut and inner > 0 and high - low > 6 * inner:
        low, high = max(low, inner_low - inner / 2), min(high, inner_high + inner / 2)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 0.05
    low, high = low - margin, high + margin
    return (10**low, 10**high) if log else (low, high)


def limits_of(
    curves: Sequence[Curve], *, log: bool = False, signed: bool = False, cut: bool = True
) -> tuple[float, float] | None:
    """Return the limits of curves with their bands.

    Where no curve is negative the limits do not go below 0, even with a margin or a band: shares and norms have no
    negative values. A ``signed`` quantity has limits on both sides.
    """
    limits = robust_limits(extent(curves, log=log), log=log, cut=cut)
    lines = np.concatenate([np.array([]), *(y for c in curves for y in (c.y, c.survivors) if y is not None)])
    if log or signed or limits is None or (lines < 0).any():
        return limits
    return max(limits[0], 0.0), limits[1]


def set_limits(axes: Axes, limits: tuple[float, float] | None, curves: Sequence[Curve]) -> None:
    """Set the vertical limits. Values outside are marked at the edge and counted.

    On a logarithmic axis, values of 0 or less are below.
    """
    if limits is None:
        return
    axes.set_ylim(*limits)
    if limits[0] == 0:
        _show_whole_width(axes, curves, limits)
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


def _show_whole_width(axes: Axes, curves: Sequence[Curve], limits: tuple[float, float]) -> None:
    """Draw lines that run along the foot of the panel over the axis, which would cut them in half."""
    if not any(_above(c.y, limits).any() for c in curves):
        for lines in axes.collections:
            if lines.get_gid() == LINES:
                lines.set_clip_on(False)
                lines.set_zorder(2.6)  # an axis is drawn at 2.5


def _below(y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.isfinite(y) & (y < limits[0])


def _above(y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.isfinite(y) & (y > limits[1])


def _extreme(curves: Sequence[Curve], limits: tuple[float, float], *, above: bool) -> float:
    outside = np.concatenate([c.y[_above(c.y, limits) if above else _below(c.y, limits)] for c in curves])
    return float(outside.max() if above else outside.min())
