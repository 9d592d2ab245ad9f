from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def test_mean_and_deviation_of_the_weights_are_averaged_over_seeds(seeds_store: Path, plain: Plain) -> None:
    rows = plain(seeds_store, layer="classifier")
    rows = rows[rows["run"].str.startswith("msn-")].assign(deviation=lambda df: np.sqrt(df["weight_var"].astype(float)))
    expected = rows.astype({"weight_mean": float}).groupby("step")[["weight_mean", "deviation"]].mean()
    table = prepare("weight_mean", seeds_store, layers="classifier", runs="msn-*").table.set_index("step")
    np.testing.assert_allclose(table["mean"], expected["weight_mean"], atol=1e-12)
    np.testing.assert_allclose(table["deviation"], expected["deviation"])


def band(axes: Any) -> np.ndarray:
    (shape,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
    return shape.get_paths()[0].vertices


def test_the_band_is_one_standard_deviation_and_half_of_one_in_the_paper(small_store: Path, read: Any) -> None:
    table = prepare("weight_mean", small_store, runs="sn-s0", layers="classifier").table
    for paper, half in ((False, 1.0), (True, 0.5)):
        options = {"smooth": 1} if paper else {}
        picture = figure("weight_mean", small_store, runs="sn-s0", layers="classifier", paper=paper, **options)
        edges = band(read.panels(picture)["SN"])
        assert edges[:, 1].max() == np.max(table["mean"] + half * table["deviation"])
        assert edges[:, 1].min() == np.min(table["mean"] - half * table["deviation"])


def test_there_is_a_panel_a_norm_and_a_line_a_layer(small_store: Path, read: Any) -> None:
    picture = figure("weight_mean", small_store)
    assert list(read.panels(picture)) == ["BN", "SN", "MSN"]
    assert read.legend(picture) == ["block1.conv", "block3.conv", "classifier"]
    for axes in read.panels(picture).values():
        assert len(read.lines(axes)) == 3


def test_the_paper_shows_two_convolutions_smoothed_over_fifteen_records(deep_store: Path, plain: Plain) -> None:
    table = prepare("weight_mean", deep_store, paper=True).table
    assert list(dict.fromkeys(table["layer"])) == ["block1.2.conv2", "block1.6.conv1"]
    rows = table[(table["norm"] == "bn") & (table["layer"] == "block1.2.conv2")]
    values = plain(deep_store, run="bn-s0", layer="block1.2.conv2")["weight_mean"].astype(float)
    np.testing.assert_allclose(rows["mean"], values.rolling(15, min_periods=1).mean(), atol=1e-9)
