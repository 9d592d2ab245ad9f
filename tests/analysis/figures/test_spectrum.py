from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare


def test_the_spectrum_is_averaged_value_by_value_over_runs(seeds_store: Path) -> None:
    rows = pd.read_parquet(seeds_store / "spectra").astype({"run": str, "layer": str})
    rows = rows[rows["run"].str.startswith("msn-") & (rows["layer"] == "classifier") & (rows["step"] == 0)]
    expected = np.mean(np.stack(rows["singular_values"]).astype(float), axis=0)
    table = prepare("spectrum", seeds_store, layers="classifier", runs="msn-*").table
    np.testing.assert_allclose(table[table["step"] == 0].sort_values("index")["mean"], expected)
    assert table["index"].min() == 1


def test_each_panel_has_a_line_a_step_that_grows_lighter(small_store: Path, read: Any) -> None:
    table = prepare("spectrum", small_store).table
    axes = read.panels(figure("spectrum", small_store))["SN: classifier"]
    lines, colors = read.lines(axes), read.colors(axes)
    assert len(lines) == table["step"].nunique()
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in colors]
    assert brightness == sorted(brightness)
    first = table[(table["norm"] == "sn") & (table["layer"] == "classifier") & (table["step"] == 0)]
    np.testing.assert_allclose(lines[0], first[["index", "mean"]])


def test_spectra_that_are_nan_are_counted_in_the_panel(make_store: Any, read: Any) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10})
    for axes in read.panels(figure("spectrum", store)).values():
        assert read.texts(axes) == ["NaN at 2 of 4 records"]


def test_a_view_that_was_not_recorded_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no spectra of view 'slices'; the store has: unfolded"):
        prepare("spectrum", small_store, view="slices")


def test_a_single_step_is_named_and_needs_no_bar_of_colours(make_store: Callable[..., Path], read: Any) -> None:
    picture = figure("spectrum", make_store(norms=["sn"], records=1))
    assert len(picture.axes) == len(read.panels(picture)) == 3
    assert any(text.get_text().startswith("unfolded matrix; step 0") for text in picture.texts)
