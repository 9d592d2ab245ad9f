from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.gallery.figure import figure, prepare

LAYERS = ["block1.conv", "block2.conv", "block3.conv", "classifier"]


def test_the_bound_is_the_product_of_operator_norms_and_complexity_that_of_spectral_ones_times_the_rank(
    small_store: Path, plain: Callable[..., pd.DataFrame]
) -> None:
    table = prepare("lipschitz", small_store).table
    rows = plain(small_store, run="bn-s0")
    rows = rows[rows["layer"].isin(LAYERS) & (rows["step"] % 250 == 0)]
    rows = rows.astype({"operator_norm": float, "spectral_norm": float, "stable_rank": float})
    matrix = rows["layer"] == "classifier"
    rows["operator_norm"] = rows["operator_norm"].mask(matrix, rows["spectral_norm"])
    groups = rows.groupby("step")
    bound = np.log10(groups["operator_norm"].prod())
    complexity = np.log10(groups["spectral_norm"].prod() * np.sqrt(groups["stable_rank"].sum()))
    ours = table[table["norm"] == "bn"].pivot(index="step", columns="quantity", values="mean")
    np.testing.assert_allclose(ours["operator_norm_product"], bound)
    np.testing.assert_allclose(ours["neyshabur_complexity"], complexity)


def test_one_nan_layer_makes_the_networks_bound_nan(make_store: Callable[..., Path]) -> None:
    table = prepare("lipschitz", make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10})).table
    assert table[table["step"] >= 500]["mean"].isna().all()
    assert table[table["step"] < 500]["mean"].notna().all()


def test_a_hundred_layers_do_not_overflow(deep_store: Path) -> None:
    table = prepare("lipschitz", deep_store).table
    assert np.isfinite(table["mean"]).all()
    assert table["mean"].max() > 20


def test_a_layer_of_norm_zero_is_named_as_not_finite(small_store: Path) -> None:
    from analysis.figures.lipschitz import log10

    assert log10(pd.Series([0.0, 10.0, np.nan])).tolist()[:2] == [-np.inf, 1.0]


def test_each_quantity_has_a_panel_with_a_line_a_norm(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("lipschitz", small_store))
    assert list(panels) == ["product of operator norms", "Neyshabur complexity"]
    assert [len(read.lines(axes)) for axes in panels.values()] == [3, 3]
