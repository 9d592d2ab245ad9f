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


def test_the_density_is_that_of_the_first_and_of_the_last_record(small_store: Path, plain: Plain) -> None:
    table = prepare("gradient_histograms", small_store, layers="classifier", bins=11).table
    assert table["step"].unique().tolist() == [0, 1500]
    for (norm, step), bins in table.groupby(["norm", "step"]):
        row = plain(small_store, "histograms", run=f"{norm}-s0", layer="classifier", step=step).iloc[0]
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


def test_the_paper_has_twenty_bins_of_two_layers_first_and_late(deep_store: Path, read: Any) -> None:
    prepared = prepare("gradient_histograms", deep_store, paper=True)
    assert prepared.table.groupby(["norm", "layer", "step"]).size().unique().tolist() == [20]
    panels = list(read.panels(prepared.draw()))
    assert panels[0] == "step 0: block2.5.conv1"
    assert [title.split(":")[0] for title in panels] == ["step 0", "step 450"] * 2


def test_the_stairs_are_the_prepared_numbers(small_store: Path, read: Any) -> None:
    table = prepare("gradient_histograms", small_store, log=False, at="first").table
    axes = read.panels(figure("gradient_histograms", small_store, log=False, at="first"))["step 0: block1.conv"]
    stairs = [patch for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]
    for norm, patch in zip(("bn", "sn", "msn"), stairs, strict=True):
        rows = table[(table["norm"] == norm) & (table["layer"] == "block1.conv")]
        np.testing.assert_allclose(patch.get_data().values, rows["density"])


def test_nan_entries_are_named_in_the_panel(make_store: Callable[..., Path], read: Any) -> None:
    store = make_store(norms=["bn", "sn"], records=8, nan_from={"sn-s0": 4})
    table = prepare("gradient_histograms", store).table
    assert set(table[(table["norm"] == "sn") & (table["step"] > 0)]["share_nonfinite"]) == {1.0}
    panels = read.panels(figure("gradient_histograms", store))
    assert all(("SN: 100 % NaN" in read.texts(axes)) == (title[:7] != "step 0:") for title, axes in panels.items())


def test_late_records_are_added_up_and_all_runs_show_the_same_steps(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn", "sn"], records=3, stop_after={"sn-s0": 2})  # a histogram at every record
    table = prepare("gradient_histograms", store, at="late").table
    assert table.groupby("norm")["step"].unique().map(list).to_dict() == {"bn": [50], "sn": [50]}
    with pytest.raises(ValueError, match=r"no step after the first in common .*of different steps do not compare"):
        prepare("gradient_histograms", make_store("short", norms=["bn", "sn"], records=3, stop_after={"sn-s0": 1}))


def test_the_root_mean_square_of_the_entries_stands_in_the_panel(small_store: Path, plain: Plain) -> None:
    table = prepare("gradient_histograms", small_store, layers="classifier", runs="sn-s0", at="first").table
    row = plain(small_store, "histograms", run="sn-s0", layer="classifier", step=0).iloc[0]
    edges = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    middles = (edges[1:] + edges[:-1]) / 2
    assert table["rms"].iloc[0] == pytest.approx(np.sqrt((row["counts"] * middles**2).sum() / row["n"]), rel=0.01)


def test_a_recorded_step_can_be_chosen(small_store: Path) -> None:
    assert set(prepare("gradient_histograms", small_store, at=500).table["step"]) == {500}


def test_a_step_without_histogram_raises(small_store: Path) -> None:
    with pytest.raises(
        ValueError, match="no histogram of all runs at step 7; expected 'both', 'first', 'late' or a recorded"
    ):
        prepare("gradient_histograms", small_store, at=7)


def test_a_tensor_without_histogram_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no histograms of tensor 'weight'; the store has: gradient"):
        prepare("gradient_histograms", small_store, tensor="weight")
