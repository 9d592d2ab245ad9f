"""The figures of one column with a panel a norm: each shows the column it is named after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare

COLUMNS = {
    "gradient_variance": "grad_var",
    "gradient_norm": "grad_l2_norm",
    "update_size": "update_ratio",
    "dead_fraction": "dead_fraction",
    "activation_drift": "activation_drift",
}
BEFORE_THE_NONLINEARITY = ["dead_fraction", "activation_drift"]


@pytest.mark.parametrize(("name", "column"), COLUMNS.items())
def test_the_lines_are_the_recorded_column(
    name: str, column: str, small_store: Path, plain: Callable[..., pd.DataFrame], read: Any
) -> None:
    prepared = prepare(name, small_store)
    for (norm, layer), rows in prepared.table.groupby(["norm", "layer"]):
        np.testing.assert_allclose(rows["mean"], plain(small_store, run=f"{norm}-s0", layer=layer)[column])
    panels = read.panels(prepared.draw())
    assert list(panels) == ["BN", "SN", "MSN"]
    for norm, axes in zip(("bn", "sn", "msn"), panels.values(), strict=True):
        drawn = sorted(line[-1, 1] for line in read.lines(axes))
        last = prepared.table[(prepared.table["norm"] == norm) & (prepared.table["step"] == 1950)]["mean"]
        np.testing.assert_allclose(drawn, sorted(last))


@pytest.mark.parametrize("name", BEFORE_THE_NONLINEARITY)
def test_the_nonlinearity_sees_the_normalisation_where_there_is_one(name: str, small_store: Path) -> None:
    layers = prepare(name, small_store).table.groupby("norm")["layer"].unique().map(list).to_dict()
    assert layers["sn"] == ["block1.conv", "block2.conv", "block3.conv"]  # not the classifier: no nonlinearity follows
    assert layers["bn"] == layers["msn"] == ["block1.norm", "block2.norm", "block3.norm"]


@pytest.mark.parametrize("name", ["gradient_variance", "gradient_norm", "update_size"])
def test_what_spans_decades_has_a_logarithmic_axis(name: str, small_store: Path, read: Any) -> None:
    axes = read.panels(figure(name, small_store))["SN"]
    assert axes.get_yscale() == "log"


def test_no_band_is_claimed_where_a_hundred_layers_have_none(make_store: Callable[..., Path]) -> None:
    few = figure("singular_values", make_store(seeds=(0, 1), records=3))
    many = figure("singular_values", make_store("deep", model="densenet", seeds=(0, 1), records=3))
    words = {name: " ".join(text.get_text() for text in each.texts) for name, each in (("few", few), ("many", many))}
    assert "mean and ±1 standard deviation over 2 runs" in words["few"]
    assert "mean over 2 runs" in words["many"]
    assert "standard deviation" not in words["many"]


def test_zeros_on_a_logarithmic_axis_are_marked_below_it(make_store: Callable[..., Path], read: Any) -> None:
    from matplotlib.figure import Figure

    from analysis.plotting.page import PanelText
    from analysis.plotting.panels.by_norm import draw_by_norm

    table = prepare("gradient_norm", make_store(norms=["sn"], records=5)).table
    table.loc[[0, 1], "mean"] = 0.0
    picture = Figure()
    draw_by_norm(picture, table, PanelText("t", "n", "y"), log=True)
    assert "2 below, down to 0" in read.texts(read.panels(picture)["SN"])
