from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from analysis.gallery.figure import figure, prepare
from probes.schema import bin_edges

Plain = Callable[..., pd.DataFrame]


def naive_density(row: pd.Series, edges: np.ndarray) -> np.ndarray:
    """Share every recorded bin out over the new ones, one by one."""
    recorded = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    total = np.zeros(len(edges) - 1)
    for low, high, count in zip(recorded[:-1], recorded[1:], row["counts"], strict=True):
        if count:
            overlap = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
            total += count * overlap / (high - low)
    return total / (row["n"] * np.diff(edges))


def test_the_density_is_that_of_the_last_record(small_store: Path, plain: Plain) -> None:
    table = prepare("gradient_histograms", small_store, layers="classifier", bins=11).table
    for norm, bins in table.groupby("norm"):
        row = plain(small_store, "histograms", run=f"{norm}-s0", layer="classifier").iloc[-1]
        assert (bins["step"] == row["step"]).all()
        edges = np.append(bins["left"], bins["right"].iloc[-1])
        np.testing.assert_allclose(bins["density"], naive_density(row, edges), rtol=1e-9)
        assert (bins["share_zero"] == row["n_zero"] / row["n"]).all()


def test_runs_of_a_norm_add_up(seeds_store: Path, plain: Plain) -> None:
    bins = prepare("gradient_histograms", seeds_store, layers="classifier", runs="msn-*", at="first", bins=9).table
    edges = np.append(bins["left"], bins["right"].iloc[-1])
    rows = plain(seeds_store, "histograms", layer="classifier", step=0)
    rows = rows[rows["run"].str.startswith("msn-")]
    together = sum(naive_density(row, edges) * row["n"] for _, row in rows.iterrows()) / rows["n"].sum()
    np.testing.assert_allclose(bins["density"], together, rtol=1e-9)


def test_the_paper_has_twenty_bins_of_the_first_record(deep_store: Path, read: Any) -> None:
    prepared = prepare("gradient_histograms", deep_store, paper=True)
    assert prepared.table.groupby(["norm", "layer"]).size().unique().tolist() == [20]
    assert (prepared.table["step"] == 0).all()
    assert list(read.panels(prepared.draw())) == ["block2.5.conv1", "block3.4.conv1"]


def test_the_stairs_are_the_prepared_numbers(small_store: Path, read: Any) -> None:
    table = prepare("gradient_histograms", small_store, log=False).table
    axes = read.panels(figure("gradient_histograms", small_store, log=False))["block1.conv"]
    stairs = [patch for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]
    for norm, patch in zip(("bn", "sn", "msn"), stairs, strict=True):
        rows = table[(table["norm"] == norm) & (table["layer"] == "block1.conv")]
        np.testing.assert_allclose(patch.get_data().values, rows["density"])


def test_nan_entries_are_named_in_the_panel(make_store: Callable[..., Path], read: Any) -> None:
    store = make_store(norms=["bn", "sn"], records=8, nan_from={"sn-s0": 4})
    table = prepare("gradient_histograms", store).table
    assert set(table[table["norm"] == "sn"]["share_nonfinite"]) == {1.0}
    for axes in read.panels(figure("gradient_histograms", store)).values():
        assert read.texts(axes) == ["SN: 100 % NaN"]


def test_a_recorded_step_can_be_chosen(small_store: Path) -> None:
    assert set(prepare("gradient_histograms", small_store, at=500).table["step"]) == {500}


def test_a_step_without_histogram_raises(small_store: Path) -> None:
    with pytest.raises(
        ValueError, match="no histogram at step 7; expected 'first', 'last' or a recorded step from 0 to"
    ):
        prepare("gradient_histograms", small_store, at=7)


def test_a_tensor_without_histogram_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no histograms of tensor 'weight'; the store has: gradient"):
        prepare("gradient_histograms", small_store, tensor="weight")
