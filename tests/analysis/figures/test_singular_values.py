from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def test_the_default_is_the_unfolded_matrix_of_every_weight_layer(small_store: Path, plain: Plain) -> None:
    table = prepare("singular_values", small_store).table
    assert set(table["layer"]) == {"block1.conv", "block2.conv", "block3.conv", "classifier"}
    for (norm, layer), rows in table.groupby(["norm", "layer"]):
        np.testing.assert_allclose(
            rows["mean"], plain(small_store, run=f"{norm}-s0", layer=layer)["singular_value_mean"]
        )


def test_the_papers_are_kernel_slices_of_five_convolutions(deep_store: Path, plain: Plain) -> None:
    table = prepare("singular_values", deep_store, paper=True, smooth=1).table
    assert table["layer"].nunique() == 5
    rows = table[(table["norm"] == "sn") & (table["layer"] == "block3.0.conv1")]
    values = plain(deep_store, run="sn-s0", layer="block3.0.conv1")["kernel_singular_value_mean"]
    np.testing.assert_allclose(rows["mean"], values)


def test_a_hundred_layers_are_told_apart_by_a_colour_bar(deep_store: Path, read: Any) -> None:
    picture = figure("singular_values", deep_store)
    assert read.legend(picture) == []
    panels = read.panels(picture)
    lines = read.lines(panels["SN"])
    assert len(lines) == 100
    colors = read.colors(panels["SN"])
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in colors]
    assert brightness == sorted(brightness)  # darker is nearer to the input, in greyscale too
    bar = next(axes for axes in picture.axes if axes not in panels.values())
    assert [label.get_text() for label in bar.get_yticklabels()][::4] == ["stem", "classifier"]


def test_all_panels_share_their_limits(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("singular_values", small_store)).values()
    assert len({axes.get_ylim() for axes in panels}) == 1
