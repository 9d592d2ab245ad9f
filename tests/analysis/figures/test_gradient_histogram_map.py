from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare
from probes.schema import bin_edges


def test_shares_of_octaves_are_counted_from_the_recorded_bins(
    small_store: Path, plain: Callable[..., pd.DataFrame]
) -> None:
    table = prepare("gradient_histogram_map", small_store, layers="classifier", octaves=6).table
    row = plain(small_store, "histograms", run="sn-s0", layer="classifier").iloc[0]
    ours = table[(table["norm"] == "sn") & (table["step"] == row["step"])].set_index("octave")["share"]
    edges = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    counts, top = pd.Series(row["counts"]), int(table["top"].iloc[0])
    for octave in (1, 3, 6):
        low, high = 2.0 ** (top - 6 + octave - 1), 2.0 ** (top - 6 + octave)
        inside = (edges[:-1] >= low) & (edges[1:] <= high)
        assert ours[octave] == pytest.approx(counts[inside].sum() / row["n"])
    small = (edges[:-1] >= -(2.0 ** (top - 6))) & (edges[1:] <= 2.0 ** (top - 6))
    assert ours[0] == pytest.approx(counts[small].sum() / row["n"])


def test_shares_of_a_finite_tensor_add_up_to_one(small_store: Path) -> None:
    table = prepare("gradient_histogram_map", small_store).table
    np.testing.assert_allclose(table.groupby(["norm", "layer", "step"])["share"].sum(), 1.0)


def test_there_is_a_panel_for_each_layer_and_norm(deep_store: Path, read: Any) -> None:
    panels = list(read.panels(figure("gradient_histogram_map", deep_store)))
    assert len(panels) == 9
    assert panels[:3] == ["BN: stem", "SN: stem", "MSN: stem"]


def test_steps_with_nan_entries_are_red_at_the_foot(make_store: Callable[..., Path], read: Any) -> None:
    store = make_store(norms=["sn"], records=8, nan_from={"sn-s0": 4})
    picture = figure("gradient_histogram_map", store)
    (marks,) = [c for c in read.panels(picture)["SN: classifier"].collections if len(c.get_offsets()) == 2]
    np.testing.assert_array_equal(marks.get_offsets()[:, 0], [200, 300])
    assert any("red at the foot" in text.get_text() for text in picture.texts)


def test_a_tensor_without_histogram_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no histograms of tensor 'activation'; the store has: gradient"):
        prepare("gradient_histogram_map", small_store, tensor="activation")
