from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import mark_nan


def marked(*heights: float) -> tuple[Figure, Curve]:
    """Return a panel with horizontal lines at heights from 0 to 1 and NaN from step 80 of 100 on."""
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlim=(0, 100), ylim=(0, 1))
    x = np.tile(np.linspace(0, 100, 60), len(heights))
    curve = Curve(x, np.repeat(heights, 60), "k")
    table = pd.DataFrame({"step": np.arange(0, 101, 10)})
    mark_nan(axes, table.assign(nan_runs=table["step"].ge(80).astype(int)), "NaN", x="step", curves=[curve])
    return figure, curve


def test_the_note_stands_clear_of_curves_at_the_top_and_the_foot() -> None:
    figure, curve = marked(0.98, 0.02)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    box = axes.texts[0].get_window_extent().transformed(axes.transData.inverted())
    assert not any(box.y0 <= height <= box.y1 for height in np.unique(curve.y))


def test_the_note_stands_at_the_top_where_nothing_is_in_its_way() -> None:
    figure, _ = marked(0.5)
    assert figure.axes[0].texts[0].get_va() == "top"
