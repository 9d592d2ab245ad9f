from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve, draw_curves, stretches
from analysis.plotting.axes.limits import robust_limits, set_limits

NAN = np.nan


@pytest.mark.parametrize(
    ("values", "pieces"),
    [
        ([1, 2, 3], [[0, 1, 2]]),
        ([1, NAN, 3], [[0], [2]]),
        ([NAN, 1, 2, NAN, NAN, 3, 4], [[1, 2], [5, 6]]),
        ([NAN, NAN], []),
        ([np.inf, 1, -np.inf], [[1]]),
        ([], []),
    ],
)
def test_a_gap_is_never_bridged(values: list[float], pieces: list[list[int]]) -> None:
    x = np.arange(len(values), dtype=float)
    assert [piece[:, 0].tolist() for piece in stretches(x, np.array(values, float))] == pieces


def test_limits_hold_every_ordinary_value(rng: np.random.Generator) -> None:
    values = rng.normal(size=1000)
    low, high = robust_limits(values)
    assert low < values.min()
    assert high > values.max()


def test_limits_are_not_stretched_by_outliers(rng: np.random.Generator) -> None:
    values = np.append(rng.uniform(0, 1, 999), 1e9)
    low, high = robust_limits(values)
    assert low < 0
    assert 1 < high < 3


def test_limits_on_a_logarithmic_axis_count_decades_and_positive_values() -> None:
    low, high = robust_limits(np.array([0.0, -3.0, 1e-6, 1e-3, 1.0]), log=True)
    assert 1e-7 < low < 1e-6
    assert 1 < high < 10


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_limits_around_a_constant_have_some_height(value: float) -> None:
    low, high = robust_limits(np.full(5, value))
    assert low < value < high


def test_without_a_finite_value_there_are_no_limits() -> None:
    assert robust_limits(np.array([NAN, np.inf])) is None
    assert robust_limits(np.array([-1.0, 0.0]), log=True) is None


def test_outliers_are_marked_at_the_edge_and_counted() -> None:
    axes = Figure().subplots()
    y = np.array([0.0, 1.0, 500.0, 0.5, -80.0])
    curves = [Curve(np.arange(5.0), y, "k")]
    draw_curves(axes, curves)
    set_limits(axes, (-1.0, 2.0), curves)
    assert [text.get_text() for text in axes.texts] == ["1 below, down to -80", "1 above, up to 5e+02"]


def test_equal_steps_stand_side_by_side() -> None:
    axes = Figure().subplots()
    draw_curves(axes, [Curve(np.array([100.0]), np.array([1.0]), color) for color in "rgb"])
    places = [dots.get_offsets()[0, 0] for dots in axes.collections]
    assert len(set(places)) == 3
    assert np.mean(places) == pytest.approx(100.0)
    assert max(places) - min(places) < 2


def test_a_band_is_drawn_around_its_line_alone() -> None:
    axes = Figure().subplots()
    y = np.array([1.0, NAN, 3.0, 4.0])
    draw_curves(axes, [Curve(np.arange(4.0), y, "k", half_band=np.array([0.5, 0.5, 0.5, 0.5]))])
    paths = axes.collections[0].get_paths()
    assert len(paths) == 2
    assert paths[1].vertices[:, 1].max() == 4.5


def test_a_band_on_a_logarithmic_axis_reaches_as_far_below_the_line_as_above_it() -> None:
    axes = Figure().subplots()
    draw_curves(axes, [Curve(np.arange(3.0), np.full(3, 0.1), "k", half_band=np.full(3, 0.9))], log=True)
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [0.01, 1.0])


def test_a_band_of_its_own_edges_is_drawn_as_it_is() -> None:
    axes = Figure().subplots()
    edges = (np.array([0.0, 1.0]), np.array([5.0, 6.0]))
    draw_curves(axes, [Curve(np.arange(2.0), np.array([1.0, 2.0]), "k", edges=edges, outlined=True)])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.0, 6.0)
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.0, 1.0], [5.0, 6.0]]
