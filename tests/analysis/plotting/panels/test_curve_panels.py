from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.gallery.figure import figure
from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.limits import limits_of
from analysis.plotting.panels.curve_panels import are_lone, draw_panels


def curve(*values: float, band: float = 0.0) -> Curve:
    y = np.array(values, float)
    return Curve(np.arange(float(len(y))), y, "k", half_band=np.full(len(y), band))


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (0.0, 1.0, 2.0), (0.001, 5.0, 5.0)])
def test_limits_of_values_none_of_which_is_negative_do_not_go_below_zero(values: tuple[float, ...]) -> None:
    low, high = limits_of([curve(*values)])
    assert low == 0
    assert high > max(values)


def test_a_deviation_wider_than_its_mean_does_not_take_the_axis_below_zero() -> None:
    assert limits_of([curve(0.1, 0.2, band=0.4)])[0] == 0


def test_values_far_from_zero_do_not_pull_it_in() -> None:
    assert limits_of([curve(10.0, 11.0)])[0] > 9


def test_one_negative_value_or_a_signed_quantity_has_room_below_zero() -> None:
    assert limits_of([curve(-0.1, 1.0)])[0] < -0.1
    assert limits_of([curve(0.1, 0.2, band=0.4)], signed=True)[0] < -0.3


def test_a_line_at_the_foot_of_the_panel_is_drawn_over_its_axis_and_explained() -> None:
    (axes,) = draw_panels(Figure(), {"a": [curve(0.0, 0.0)]}, height=1.0)
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    assert not lines.get_clip_on()
    assert lines.get_zorder() > axes.spines["bottom"].get_zorder()
    assert [text.get_text() for text in axes.texts] == ["0 at every record"]


def test_a_line_that_leaves_the_panel_is_cut_off_there() -> None:
    curves = [curve(*np.linspace(0.0, 1.0, 200), 1e9)]
    (axes,) = draw_panels(Figure(), {"a": curves}, height=1.0)
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    assert axes.get_ylim()[0] == 0
    assert lines.get_clip_on()


def test_panels_that_do_not_compare_have_limits_of_their_own() -> None:
    curves = {"a": [curve(1.0, 2.0)], "b": [curve(100.0, 200.0)]}
    one, other = draw_panels(Figure(), curves, height=1.0, sharey=False)
    assert one.get_ylim()[1] < 3 < other.get_ylim()[0]
    assert len({axes.get_ylim() for axes in draw_panels(Figure(), curves, height=1.0)}) == 1


def test_only_lone_points_are_lone() -> None:
    assert are_lone({"a": [curve(1.0)], "b": [curve(2.0)]})
    assert not are_lone({"a": [curve(1.0)], "b": [curve(1.0, 2.0)]})


@pytest.mark.parametrize("name", ["mean_drift", "singular_values", "accuracy"])
def test_of_one_step_the_legend_shows_the_markers_that_are_drawn(
    name: str, make_store: Callable[..., Path], read: Any
) -> None:
    picture = figure(name, make_store(records=1))
    (legend,) = picture.legends
    told = {(to_hex(handle.get_color()), handle.get_marker()) for handle in legend.legend_handles}
    assert {handle.get_linestyle() for handle in legend.legend_handles} == {"None"}
    assert len({marker for _, marker in told}) == len(told)
    dots = [dots for axes in read.panels(picture).values() for dots in axes.collections if len(dots.get_offsets()) == 1]
    assert {to_hex(color) for each in dots for color in each.get_facecolors()} == {color for color, _ in told}
    assert len({each.get_paths()[0].vertices.tobytes() for each in dots}) == len(told)


def test_an_arm_that_a_layer_lacks_does_not_change_the_looks_of_the_others(
    make_store: Callable[..., Path], read: Any
) -> None:
    store = make_store(with_config=False, records=4)  # runs without a norm get their looks by their place
    picture = figure("mean_drift", store, layers="block1.*")
    told = {text.get_text(): handle for text, handle in zip(*_legend(picture), strict=True)}
    drawn = read.colors(read.panels(picture)["block1.norm"])
    assert [to_hex(color) for color in drawn] == [to_hex(told[run].get_color()) for run in ("bn-s0", "msn-s0")]


def _legend(picture: Figure) -> tuple[list[Any], list[Any]]:
    (legend,) = picture.legends
    return list(legend.get_texts()), list(legend.legend_handles)
