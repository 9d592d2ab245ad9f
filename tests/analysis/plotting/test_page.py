from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plotting.page import (
    axis_label,
    definition,
    head,
    in_words,
    key,
    layer_arm_panels,
    name_panel,
    panels,
    shortened,
    with_smoothing,
)
from probes.schema import Column


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grad_l2_norm", "gradient L2 norm"),
        ("weight_var", "weight variance"),
        ("singular_value_mean", "singular value mean"),
        ("lr", "learning rate"),
        ("my_own_column", "my own column"),
    ],
)
def test_columns_are_spoken_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_an_axis_has_its_unit_unless_it_is_a_pure_number() -> None:
    assert axis_label(Column("seconds", "s", "")) == "seconds [s]"
    assert axis_label(Column("weight_mean", "1", "mean(W)")) == "weight mean"


def test_a_definition_names_the_tensor() -> None:
    assert definition(Column("weight_mean", "1", "mean(W)", tensor="effective weight")) == "mean(W)  (effective weight)"
    assert definition(Column("my_column", "1", "")) == "my column"


def test_smoothing_is_owned_up_to() -> None:
    assert with_smoothing("mean(W)", 1) == "mean(W)"
    assert with_smoothing("mean(W)", 15) == "mean(W); trailing mean of 15 records"


def test_long_names_lose_their_beginning() -> None:
    assert shortened("block1.conv", 20) == "block1.conv"
    assert shortened("features.block1.layer2.conv1", 20) == "…block1.layer2.conv1"
    assert shortened("a" * 30, 10) == "…" + "a" * 9
    assert all(len(shortened("features.denseblock2.denselayer12.conv1", n)) <= n for n in range(2, 50))


@pytest.mark.parametrize(
    ("count", "rows", "across"), [(1, 1, 1), (3, 1, 3), (4, 1, 4), (5, 2, 3), (6, 2, 3), (16, 6, 3)]
)
def test_panels_fill_rows(count: int, rows: int, across: int) -> None:
    grid = panels(Figure(), count)
    assert len(grid) == count
    spec = grid[0].get_subplotspec().get_gridspec()
    assert (spec.nrows, spec.ncols) == (rows, across)


def test_few_arms_have_columns_and_many_have_rows() -> None:
    few = layer_arm_panels(Figure(), ["a", "b"], ["BN", "SN", "MSN"])
    assert list(few)[:3] == [("a", "BN"), ("a", "SN"), ("a", "MSN")]
    assert few["a", "BN"].get_subplotspec().get_gridspec().ncols == 3
    many = layer_arm_panels(Figure(), ["a", "b"], [f"arm {i}" for i in range(6)])
    assert list(many)[:3] == [("a", "arm 0"), ("b", "arm 0"), ("a", "arm 1")]
    assert many["a", "arm 0"].get_subplotspec().get_gridspec().ncols == 2


def test_a_panel_names_its_arm_on_a_line_of_its_own_where_both_do_not_fit() -> None:
    figure = Figure()
    short, long = (panels(figure, 3)[place] for place in (0, 1))
    name_panel(short, "block1.conv", arm="BN")
    name_panel(long, "features.block1.conv", arm="BN, learning rate 0.001")
    assert short.get_title() == "BN: block1.conv"
    assert long.get_title() == "BN, learning rate 0.001\nfeatures.block1.conv"


def test_the_label_of_an_axis_stands_beside_its_panels_whatever_stands_above_them() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    grid = panels(figure, 3, height=2.3)
    legend = [key(f"a long name of a layer {i}", "k") for i in range(8)]
    head(figure, "title", "a note " * 40, legend, xlabel="step", ylabel="quantity")
    figure.draw_without_rendering()
    label = figure._supylabel.get_window_extent()
    panel = grid[0].get_window_extent()
    assert (label.y0 + label.y1) / 2 == pytest.approx((panel.y0 + panel.y1) / 2, abs=0.05 * figure.dpi)


def test_too_many_panels_raise() -> None:
    with pytest.raises(
        ValueError, match="25 panels do not fit a page legibly; choose at most 24 with layers= or runs="
    ):
        panels(Figure(), 25)
