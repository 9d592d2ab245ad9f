"""The slope of a size over the width: closed form, an independent least squares, and what has no slope."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.scaling.width_slopes import width_slopes

WIDTHS = [64, 128, 256, 512]


def table(sizes: list[float], widths: list[int] = WIDTHS, **keys: object) -> pd.DataFrame:
    given = {"layer": "0", "step": 0, **keys}
    return pd.DataFrame({"width": widths, "activation_rms": sizes}).assign(**given)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0])
def test_a_power_of_the_width_has_its_exponent_as_slope(exponent: float) -> None:
    [found] = width_slopes(table([3.0 * width**exponent for width in WIDTHS])).to_dict("records")
    assert found["slope"] == pytest.approx(exponent, abs=1e-12)
    assert found["slope_error"] == pytest.approx(0, abs=1e-12)
    assert (found["layer"], found["step"], found["widths"]) == ("0", 0, 4)


def test_slope_and_error_are_those_of_least_squares(seed: int) -> None:
    sizes = np.random.default_rng(seed).lognormal(size=12).tolist()
    [found] = width_slopes(table(sizes, WIDTHS * 3)).to_dict("records")
    fit, covariance = np.polyfit(np.log2(WIDTHS * 3), np.log2(sizes), 1, cov=True)
    assert found["slope"] == pytest.approx(fit[0], rel=1e-9)
    assert found["slope_error"] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)


def test_each_layer_and_step_has_its_own_slope() -> None:
    flat, grows = table([1.0] * 4, layer="a"), table([float(width) for width in WIDTHS], layer="b", step=1)
    rows = pd.concat([flat, grows])
    before = rows.copy()
    found = width_slopes(rows).set_index(["layer", "step"])["slope"]
    assert found[("a", 0)] == pytest.approx(0, abs=1e-12)
    assert found[("b", 1)] == pytest.approx(1, abs=1e-12)
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_a_size_without_logarithm_gives_nan(size: float) -> None:
    [found] = width_slopes(table([1.0, 2.0, size, 4.0])).to_dict("records")
    assert np.isnan(found["slope"])
    assert np.isnan(found["slope_error"])


def test_one_width_has_no_slope_and_two_rows_have_no_error() -> None:
    [one] = width_slopes(table([1.0, 2.0], [64, 64])).to_dict("records")
    [two] = width_slopes(table([1.0, 2.0], [64, 128])).to_dict("records")
    assert (one["widths"], np.isnan(one["slope"])) == (1, True)
    assert two["slope"] == pytest.approx(1)
    assert np.isnan(two["slope_error"])


def test_no_rows_give_no_slopes() -> None:
    assert list(width_slopes(table([], [])).columns) == ["layer", "step", "widths", "slope", "slope_error"]


def test_what_is_missing_or_no_width_is_named() -> None:
    with pytest.raises(ValueError, match="no column update_ratio; it has: width, activation_rms, layer, step"):
        width_slopes(table([1.0] * 4), column="update_ratio")
    with pytest.raises(ValueError, match=r"expected widths above 0, got \[0, 64\]"):
        width_slopes(table([1.0, 1.0], [0, 64]))
