from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import prepare
from probes.schema import bin_edges


def test_the_curve_is_that_of_entries_spread_over_their_bins(
    make_store: Callable[..., Path], plain: Callable[..., pd.DataFrame]
) -> None:
    store = make_store(norms=["sn"], records=1)
    table = prepare("gradient_mass", store, layers="classifier").table.sort_values("share_of_squared_length")
    row = plain(store, "histograms", layer="classifier").iloc[0]
    edges = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    entries = np.concatenate(
        [
            np.linspace(low, high, 2 * count + 1)[1::2]  # the middles of as many equal parts
            for low, high, count in zip(edges[:-1], edges[1:], row["counts"], strict=True)
            if count
        ]
    )
    squares = np.sort(entries**2)[::-1]
    lengths = np.cumsum(squares) / squares.sum()
    reached = np.interp(table["share_of_squared_length"], lengths, 1 + np.arange(row["n"]))
    np.testing.assert_allclose(table["share_of_entries"][1:-1], reached[1:-1] / row["n"], atol=2e-3)
    ninety = table[table["share_of_squared_length"].round(6) == 0.9]
    np.testing.assert_allclose(ninety["share_of_entries"], ninety["share_of_entries_90"], rtol=1e-6)


def test_each_layer_has_a_panel_and_the_message_says_the_shares(small_store: Path, read: Any) -> None:
    prepared = prepare("gradient_mass", small_store)
    picture = prepared.draw()
    assert list(read.panels(picture)) == ["block1.conv", "block2.conv", "block3.conv", "classifier"]
    layers = prepared.table.drop_duplicates(["arm", "layer"])
    median = layers[layers["norm"] == "sn"]["share_of_entries_90"].median()
    assert f"SN {100 * median:.0f} %" in " ".join(text.get_text() for text in picture.texts)


def test_a_gradient_with_nan_has_no_curve(make_store: Callable[..., Path]) -> None:
    table = prepare("gradient_mass", make_store(norms=["bn", "sn"], records=8, nan_from={"sn-s0": 0})).table
    assert table[table["norm"] == "sn"]["share_of_entries"].isna().all()
    assert table[table["norm"] == "bn"]["share_of_entries"].notna().all()


def test_runs_that_share_only_their_first_record_are_refused(make_store: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no step after the first in common"):
        prepare("gradient_mass", make_store(norms=["bn", "sn"], records=3, stop_after={"sn-s0": 1}))
