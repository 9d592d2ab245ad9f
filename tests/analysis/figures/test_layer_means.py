from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def test_mean_and_deviation_of_weights_and_activations_are_averaged_over_seeds(seeds_store: Path, plain: Plain) -> None:
    table = prepare("layer_means", seeds_store, runs="msn-*").table
    for tensor, layer in (("weight", "classifier"), ("activation", "block3.norm")):
        rows = plain(seeds_store, layer=layer)
        rows = rows[rows["run"].str.startswith("msn-")].astype({f"{tensor}_mean": float, f"{tensor}_var": float})
        rows = rows.assign(deviation=np.sqrt(rows[f"{tensor}_var"]))
        expected = rows.groupby("step")[[f"{tensor}_mean", "deviation"]].mean()
        ours = table[(table["tensor"] == tensor) & (table["layer"] == layer)].set_index("step")
        np.testing.assert_allclose(ours["mean"], expected[f"{tensor}_mean"], atol=1e-12)
        np.testing.assert_allclose(ours["deviation"], expected["deviation"])


def band(axes: Any) -> np.ndarray:
    (shape,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
    return shape.get_paths()[0].vertices


@pytest.mark.parametrize("deviations", [0.5, 2.0])
def test_the_band_is_the_tensors_own_deviation(deviations: float, small_store: Path, read: Any) -> None:
    options = {"runs": "sn-s0", "layers": "classifier", "deviations": deviations}
    table = prepare("layer_means", small_store, **options).table
    weights = table[table["tensor"] == "weight"]
    edges = band(read.panels(figure("layer_means", small_store, **options))["SN: weights"])
    assert edges[:, 1].max() == np.max(weights["mean"] + deviations * weights["deviation"])
    assert edges[:, 1].min() == np.min(weights["mean"] - deviations * weights["deviation"])


def test_there_is_a_row_for_weights_and_one_for_what_the_nonlinearity_sees(small_store: Path, read: Any) -> None:
    picture = figure("layer_means", small_store)
    panels = read.panels(picture)
    assert list(panels) == [f"{norm}: {row}" for row in ("weights", "pre-activation") for norm in ("BN", "SN", "MSN")]
    assert read.legend(picture) == ["block1.conv", "block3.conv", "classifier"]
    limits = {title: axes.get_ylim() for title, axes in panels.items()}
    assert len({limit for title, limit in limits.items() if title.endswith("weights")}) == 1


def test_each_arm_shows_its_own_layers_before_the_nonlinearity(small_store: Path) -> None:
    table = prepare("layer_means", small_store).table
    seen = table[table["tensor"] == "activation"].groupby("norm")["layer"].unique().map(list).to_dict()
    assert seen["sn"] == ["block1.conv", "block2.conv", "block3.conv"]
    assert seen["bn"] == seen["msn"] == ["block1.norm", "block2.norm", "block3.norm"]


def test_the_paper_shows_two_convolutions_smoothed_over_fifteen_records(deep_store: Path, plain: Plain) -> None:
    table = prepare("layer_means", deep_store, paper=True).table
    table = table[table["tensor"] == "weight"]
    assert list(dict.fromkeys(table["layer"])) == ["block1.2.conv2", "block1.6.conv1"]
    rows = table[(table["norm"] == "bn") & (table["layer"] == "block1.2.conv2")]
    values = plain(deep_store, run="bn-s0", layer="block1.2.conv2")["weight_mean"].astype(float)
    np.testing.assert_allclose(rows["mean"], values.rolling(15, min_periods=1).mean(), atol=1e-9)


def test_a_run_that_diverges_is_marked(make_store: Callable[..., Path], read: Any) -> None:
    axes = read.panels(figure("layer_means", make_store(norms=["sn"], records=10, nan_from={"sn-s0": 6})))
    assert all("NaN" in read.texts(panel) for panel in axes.values())
