from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from analysis.plotting.panel_grid import layer_arm_panels, name_panel, panels, shortened


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


def test_an_arm_too_long_for_its_panel_keeps_its_norm() -> None:
    grid = panels(Figure(), 4)
    name_panel(grid[0], "BN, epochs 4, train images 200")
    name_panel(grid[1], "MSN, learning rate 0.001, epochs 4, train images 200, width 64", arm="")
    name_panel(grid[2], "weights", arm="SN, epochs 4, train images 200, width 64")
    titles = [axes.get_title() for axes in grid[:3]]
    assert titles[0] == "BN, epochs 4, train\nimages 200"
    assert titles[1].startswith("MSN, learning rate")
    assert titles[1].endswith("…")
    assert titles[2].startswith("SN, epochs 4")
    assert titles[2].endswith("\nweights")


def test_too_many_panels_raise() -> None:
    with pytest.raises(
        ValueError, match="25 panels do not fit a page legibly; choose at most 24 with layers= or runs="
    ):
        panels(Figure(), 25)
