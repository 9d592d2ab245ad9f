from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def test_kernel_slices_and_the_whole_matrix_of_every_convolution(small_store: Path, plain: Plain) -> None:
    table = prepare("singular_values", small_store).table
    assert set(table["layer"]) == {"block1.conv", "block2.conv", "block3.conv"}  # the classifier is not normalised
    for (norm, layer, column), rows in table.groupby(["norm", "layer", "column"], observed=True):
        np.testing.assert_allclose(rows["mean"], plain(small_store, run=f"{norm}-s0", layer=layer)[column])


def test_a_network_without_convolutions_has_the_whole_matrix_alone(make_store: Callable[..., Path], read: Any) -> None:
    store = make_store(norms=["sn"], records=3, without_columns=["kernel_singular_value_mean"])
    assert list(read.panels(figure("singular_values", store))) == ["SN: whole matrix"]


def test_the_message_is_how_far_apart_the_layers_are(small_store: Path, plain: Plain) -> None:
    rows = plain(small_store, run="sn-s0", step=1950)
    rows = rows[rows["layer"].isin(["block1.conv", "block2.conv", "block3.conv"])]
    ratio = rows["kernel_singular_value_mean"].max() / rows["kernel_singular_value_mean"].min()
    words = " ".join(text.get_text() for text in figure("singular_values", small_store, runs="sn-s0").texts)
    assert f"kernel slices: SN {ratio:.1f}" in words


def test_the_papers_are_kernel_slices_of_five_convolutions(deep_store: Path, plain: Plain) -> None:
    table = prepare("singular_values", deep_store, paper=True, smooth=1).table
    assert table["layer"].nunique() == 5
    table = table[table["column"] == "kernel_singular_value_mean"]
    rows = table[(table["norm"] == "sn") & (table["layer"] == "block3.0.conv1")]
    values = plain(deep_store, run="sn-s0", layer="block3.0.conv1")["kernel_singular_value_mean"]
    np.testing.assert_allclose(rows["mean"], values)


def test_a_hundred_layers_give_five_lines_by_relative_depth(deep_store: Path, read: Any) -> None:
    picture = figure("singular_values", deep_store)
    assert len(read.legend(picture)) == 5
    for axes in read.panels(picture).values():
        assert len(read.lines(axes)) == 5


def test_the_panels_of_a_row_share_their_limits(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("singular_values", small_store))
    for row in ("kernel slices", "whole matrix"):
        assert len({axes.get_ylim() for title, axes in panels.items() if title.endswith(row)}) == 1
