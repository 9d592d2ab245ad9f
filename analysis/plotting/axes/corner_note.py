"""A note of a few lines in the lower right corner of a panel."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes


def write_in_corner(axes: Axes, lines: Sequence[str]) -> None:
    """Write lines into the lower right corner, on a background that keeps them readable."""
    axes.annotate(
        "\n".join(lines),
        (0.985, 0.04),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        fontsize=7,
        bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
    )
