from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare
from analysis.plotting.tick_labels import short_number


def test_the_range_of_the_loss_and_the_recorded_columns(small_store: Path) -> None:
    table = prepare("landscape", small_store, runs="bn-s0").table
    rows = pd.read_parquet(small_store / "steps" / "run=bn-s0").query("split == 'test'").sort_values("step")
    expected = {
        "loss_along_gradient": rows["loss_along_gradient_max"] - rows["loss_along_gradient_min"],
        "gradient_change": rows["gradient_change_max"],
        "effective_smoothness": rows["effective_smoothness"],
        "hessian_top_eigenvalue": rows["hessian_top_eigenvalue"],
        "covariate_shift_l2": rows["covariate_shift_l2"],
        "covariate_shift_cosine": rows["covariate_shift_cosine"],
    }
    assert set(table["quantity"]) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(table[table["quantity"] == name]["mean"], values)


def test_each_measure_has_a_panel_with_a_line_a_norm(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("landscape", small_store))
    assert [len(read.lines(axes)) for axes in panels.values()] == [3] * 6


def test_the_message_names_the_median_smoothness_of_each_norm(small_store: Path) -> None:
    rows = pd.read_parquet(small_store / "steps" / "run=bn-s0").query("split == 'test'")
    words = " ".join(text.get_text() for text in figure("landscape", small_store).texts)
    assert f"BN {short_number(rows['effective_smoothness'].median(), digits=3)}; SN " in words


def test_measures_that_were_not_made_are_left_out_and_none_is_refused(
    make_store: Callable[..., Path], read: Any
) -> None:
    without = ["covariate_shift_l2", "covariate_shift_cosine", "hessian_top_eigenvalue"]
    panels = read.panels(figure("landscape", make_store(norms=["sn"], records=10, without_columns=without)))
    assert list(panels) == ["range of the loss", "gradient change", "effective smoothness"]
    store = make_store("old", norms=["sn"], records=3, without_columns=["loss_along_gradient_min"])
    with pytest.raises(ValueError, match="figure 'landscape' needs loss_along_gradient_min in table 'steps'"):
        figure("landscape", store)
