"""Drift in units of deviations: over depth and time, and by depth with the spread over seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import TwoSlopeNorm

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def scaled(rows: pd.DataFrame, tensor: str) -> np.ndarray:
    mean, variance = (rows[f"{tensor}_{name}"].to_numpy("float64") for name in ("mean", "var"))
    return (mean - mean[0]) / np.sqrt(variance)


@pytest.mark.parametrize(("tensor", "layer"), [("activation", "block2.norm"), ("weight", "classifier")])
def test_the_cells_are_signed_and_in_deviations(tensor: str, layer: str, small_store: Path, plain: Plain) -> None:
    table = prepare("drift_map", small_store, tensor=tensor, runs="msn-s0").table
    rows = plain(small_store, run="msn-s0", layer=layer)
    np.testing.assert_allclose(table[table["layer"] == layer]["mean"], scaled(rows, tensor), rtol=1e-6, atol=1e-9)


def test_all_panels_have_one_diverging_scale_around_zero(small_store: Path, read: Any) -> None:
    panels = read.panels(figure("drift_map", small_store))
    assert list(panels) == ["BN", "SN", "MSN"]
    norms = [mesh.norm for axes in panels.values() for mesh in axes.collections if isinstance(mesh, QuadMesh)]
    assert all(isinstance(norm, TwoSlopeNorm) and norm(0.0) == 0.5 and norm.vmin == -norm.vmax for norm in norms)
    assert len({norm.vmax for norm in norms}) == 1


def test_the_message_is_the_layer_that_has_gone_furthest(small_store: Path) -> None:
    prepared = prepare("drift_map", small_store, runs="sn-s0")
    last = prepared.table[prepared.table["step"] == 1950]["mean"]
    furthest = f"{last.loc[last.abs().idxmax()]:+.2g}".replace("-", "−")
    assert f"SN {furthest} deviations" in " ".join(text.get_text() for text in prepared.draw().texts)


def test_a_tensor_that_is_neither_is_refused(small_store: Path) -> None:
    with pytest.raises(ValueError, match="figure 'drift_map' needs gradient_mean, gradient_var"):
        prepare("drift_map", small_store, tensor="gradient")


def test_by_depth_each_run_has_the_mean_of_its_last_records(seeds_store: Path, plain: Plain) -> None:
    table = prepare("drift_by_depth", seeds_store, runs="msn-*").table
    mine = table[(table["run"] == "msn-s4") & (table["layer"] == "block3.norm")]
    expected = scaled(plain(seeds_store, run="msn-s4", layer="block3.norm"), "activation")[-3:].mean()
    np.testing.assert_allclose(mine["drift"], [expected], rtol=1e-6)
    assert mine["depth"].tolist() == [1.0]
    assert table["run"].nunique() == 10


def test_a_band_stands_for_the_seeds(small_store: Path, seeds_store: Path, read: Any) -> None:
    for store, bands in ((small_store, 0), (seeds_store, 3)):
        picture = figure("drift_by_depth", store)
        axes = read.panels(picture)["before the nonlinearity"]
        assert len([c for c in axes.collections if isinstance(c, PolyCollection)]) == bands
        assert ("over seeds" in " ".join(text.get_text() for text in picture.texts)) == (bands > 0)


def test_a_hundred_layers_are_medians_over_tenths_of_the_depth(deep_store: Path, read: Any) -> None:
    picture = figure("drift_by_depth", deep_store, runs="sn-s0")
    (line,) = [line for line in read.panels(picture)["weights"].lines if len(line.get_xdata()) > 2]
    np.testing.assert_allclose(line.get_xdata(), np.arange(10) / 10 + 0.05)
    assert "a tenth of the depth" in " ".join(text.get_text() for text in picture.texts)
