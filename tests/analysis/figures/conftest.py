"""Reads pictures back: what lines, bands and labels a figure really has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure


class Reader:
    """What a test asks of a drawn figure."""

    def panels(self, figure: Figure) -> dict[str, Axes]:
        """Return the panels by title."""
        return {
            axes.get_title(loc="left") or axes.get_title(): axes
            for axes in figure.axes
            if axes.get_visible() and axes.get_subplotspec() is not None
        }

    def lines(self, axes: Axes) -> list[np.ndarray]:
        """Return the points of each unbroken piece of a line, ``(points, 2)``."""
        collections = [c for c in axes.collections if isinstance(c, LineCollection)]
        return [np.asarray(piece) for c in collections for piece in c.get_segments()]

    def colors(self, axes: Axes) -> list[tuple[float, ...]]:
        """Return the colour of each piece of :meth:`lines`."""
        collections = [c for c in axes.collections if isinstance(c, LineCollection)]
        return [tuple(color) for c in collections for color in c.get_colors()]

    def legend(self, figure: Figure) -> list[str]:
        """Return the labels of the legend."""
        return [text.get_text() for legend in figure.legends for text in legend.get_texts()]

    def texts(self, axes: Axes) -> list[str]:
        """Return the notes in a panel."""
        return [text.get_text() for text in axes.texts]


@pytest.fixture
def read() -> Reader:
    return Reader()


@pytest.fixture
def plain() -> Callable[..., pd.DataFrame]:
    """Read a table with pandas alone, sorted, keys as text."""

    def load(store: Path, table: str = "layers", **wanted: str) -> pd.DataFrame:
        rows = pd.read_parquet(store / table)
        rows = rows.astype({name: str for name in ("run", "layer") if name in rows})
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return rows.sort_values([name for name in ("run", "layer", "step") if name in rows], ignore_index=True)

    return load
