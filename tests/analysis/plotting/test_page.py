from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plotting.page import legend_entry, write_title
from analysis.plotting.panel_grid import panels


def test_the_label_of_an_axis_stands_beside_its_panels_whatever_stands_above_them() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    grid = panels(figure, 3, height=2.3)
    legend = [legend_entry(f"a long name of a layer {i}", "k") for i in range(8)]
    write_title(figure, "title", "a note " * 40, legend, xlabel="step", ylabel="quantity")
    figure.draw_without_rendering()
    label = figure._supylabel.get_window_extent()
    panel = grid[0].get_window_extent()
    assert (label.y0 + label.y1) / 2 == pytest.approx((panel.y0 + panel.y1) / 2, abs=0.05 * figure.dpi)
