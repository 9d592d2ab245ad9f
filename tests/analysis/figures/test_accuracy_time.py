from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare


def test_time_and_accuracy_are_averaged_at_each_step(seeds_store: Path) -> None:
    rows = pd.read_parquet(seeds_store / "steps").query("split == 'test'").astype({"run": str})
    expected = rows[rows["run"].str.startswith("bn-")].groupby("step")[["seconds", "accuracy"]].mean()
    table = prepare("accuracy_time", seeds_store, runs="bn-*").table.set_index("step")
    np.testing.assert_allclose(table["seconds"], expected["seconds"])
    np.testing.assert_allclose(table["mean"], expected["accuracy"])


def test_the_lines_run_over_seconds(small_store: Path, read: Any) -> None:
    table = prepare("accuracy_time", small_store).table
    picture = figure("accuracy_time", small_store)
    axes = read.panels(picture)["test data"]
    for norm, line in zip(("bn", "sn", "msn"), read.lines(axes), strict=True):
        np.testing.assert_allclose(line, table[table["norm"] == norm][["seconds", "mean"]])
    assert picture.get_supxlabel() == "wall-clock time [s]"


def test_the_time_of_a_step_stands_beside_bns(small_store: Path, read: Any) -> None:
    (note,) = read.texts(read.panels(figure("accuracy_time", small_store))["test data"])
    assert note.splitlines() == [
        "time a step",
        "BN  20 ms  (1.00 of BN)",
        "SN  14.8 ms  (0.74 of BN)",
        "MSN  17 ms  (0.85 of BN)",
    ]


def test_a_split_without_accuracy_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no accuracy on split 'validation'; the store has: test, train"):
        figure("accuracy_time", small_store, split="validation")
