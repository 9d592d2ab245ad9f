from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare
from analysis.summaries.transforms import running_median


def test_the_line_is_the_median_around_each_record_and_the_records_stay_beside_it(
    small_store: Path, plain: Callable[..., pd.DataFrame]
) -> None:
    table = prepare("gradient_variance", small_store, runs="sn-s0").table
    mine = table[table["layer"] == "block1.conv"]
    values = plain(small_store, run="sn-s0", layer="block1.conv")["grad_var"].to_numpy("float64")
    assert set(mine["window"]) == {5}  # an eighth of 40 records
    expected = [np.median(values[max(0, i - 2) : i + 3]) for i in range(len(values))]
    np.testing.assert_allclose(mine["mean"], expected)
    np.testing.assert_allclose(mine["raw"], values)


def test_both_are_drawn_and_told(small_store: Path, read: Any) -> None:
    picture = figure("gradient_variance", small_store, runs="sn-s0")
    (axes,) = read.panels(picture).values()
    assert len([c for c in axes.collections if c.get_gid() == "raw lines"]) == 4
    assert "Pale: each record, which is one batch; line: median of 5 around it" in " ".join(
        " ".join(text.get_text() for text in picture.texts).split()
    )


def test_few_records_are_drawn_as_they_are(make_store: Callable[..., Path], plain: Callable[..., pd.DataFrame]) -> None:
    store = make_store(norms=["sn"], records=8)
    mine = prepare("gradient_variance", store).table.query("layer == 'block1.conv'")
    np.testing.assert_allclose(mine["mean"], plain(store, layer="block1.conv")["grad_var"].astype(float))


def test_a_window_with_a_nan_is_nan_and_no_other() -> None:
    values = [1.0, 5.0, 2.0, np.nan, 3.0, 4.0, np.inf, 9.0, 8.0, 7.0]
    rows = pd.DataFrame({"run": "r", "value": values})
    found = running_median(rows, column="value", window=3, by=["run"])
    np.testing.assert_array_equal(found, [3.0, 2.0] + [np.nan] * 6 + [8.0, 7.5])
    with pytest.raises(ValueError, match="running median 4: expected an odd number"):
        running_median(rows, column="value", window=4, by=["run"])
