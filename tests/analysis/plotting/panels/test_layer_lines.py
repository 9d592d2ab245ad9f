"""The figures of one column with a panel a norm: each shows the column it is named after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare
from analysis.plotting.panels.by_norm import layer_appearances, third_curves, thirds

COLUMNS = {
    "gradient_variance": "grad_var",
    "gradient_norm": "grad_l2_norm",
    "update_size": "update_ratio",
    "dead_fraction": "dead_fraction",
}
BEFORE_THE_NONLINEARITY = ["dead_fraction", "drift_map"]


@pytest.mark.parametrize(("name", "column"), COLUMNS.items())
def test_the_lines_are_the_recorded_column(
    name: str, column: str, small_store: Path, plain: Callable[..., pd.DataFrame], read: Any
) -> None:
    prepared = prepare(name, small_store)
    for (norm, layer), rows in prepared.table.groupby(["norm", "layer"], observed=True):
        recorded = rows["raw"] if "raw" in rows else rows["mean"]  # of one batch: the line is a median
        np.testing.assert_allclose(recorded, plain(small_store, run=f"{norm}-s0", layer=layer)[column])
    panels = read.panels(prepared.draw())
    assert list(panels) == ["BN", "SN", "MSN"]
    for norm, axes in zip(("bn", "sn", "msn"), panels.values(), strict=True):
        solid = [lines for lines in axes.collections if lines.get_gid() == "lines"]
        drawn = sorted(np.asarray(piece)[-1, 1] for lines in solid for piece in lines.get_segments())
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


def test_many_layers_are_three_thirds_of_the_depth_with_a_band_over_their_layers(deep_store: Path, read: Any) -> None:
    prepared = prepare("gradient_norm", deep_store)
    picture = prepared.draw()
    assert read.legend(picture) == ["first 33 layers", "middle 34 layers", "last 33 layers"]
    mine = prepared.table[prepared.table["norm"] == "sn"].sort_values("layer_index")
    last = mine[mine["step"] == mine["step"].max()]["mean"].to_numpy()
    drawn = [line[-1, 1] for line in read.lines(read.panels(picture)["SN"])]
    np.testing.assert_allclose(drawn, [np.median(part) for part in (last[:33], last[33:67], last[67:])])
    words = " ".join(text.get_text() for text in picture.texts)
    assert "10 % to 90 %" in words
    assert "standard deviation" not in words


def test_one_layer_that_is_not_finite_breaks_the_line_of_its_third(make_store: Callable[..., Path]) -> None:
    rows = prepare("gradient_norm", make_store(model="densenet", norms=["sn"], records=3)).table
    names = rows.sort_values("layer_index")["layer"].unique().tolist()
    rows.loc[(rows["layer"] == names[0]) & (rows["step"] == 50), ["mean", "nan_runs"]] = [np.nan, 1]
    groups = thirds(names)
    first, middle, _ = third_curves(rows, layer_appearances(list(groups)), groups)
    assert np.isnan(first.y).tolist() == [False, True, False]
    assert np.isfinite(first.survivors).all()
    assert np.isfinite(middle.y).all()


def test_the_layers_before_the_nonlinearity_are_named_by_their_depth(small_store: Path, read: Any) -> None:
    assert read.legend(figure("dead_fraction", small_store)) == ["layer 1", "layer 2", "layer 3"]


def test_the_layer_that_dies_is_never_cut_off(make_store: Callable[..., Path], read: Any) -> None:
    picture = figure("dead_fraction", make_store(norms=["sn"], records=60))
    top = read.panels(picture)["SN"].get_ylim()[1]
    assert top >= prepare("dead_fraction", make_store("again", norms=["sn"], records=60)).table["mean"].max()


def test_zeros_on_a_logarithmic_axis_are_marked_below_it(make_store: Callable[..., Path], read: Any) -> None:
    from matplotlib.figure import Figure

    from analysis.plotting.page import PanelText
    from analysis.plotting.panels.by_norm import draw_by_norm

    table = prepare("gradient_norm", make_store(norms=["sn"], records=5)).table
    table.loc[[0, 1], "mean"] = 0.0
    picture = Figure()
    draw_by_norm(picture, table, PanelText("t", "n", "y"), log=True)
    assert "2 below, down to 0" in read.texts(read.panels(picture)["SN"])
