from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.gallery.figure import figure, prepare

RATES = (0.1, 0.001, 0.0001)


@pytest.fixture
def store(make_store: Callable[..., Path]) -> Path:
    return make_store(learning_rates=RATES, seeds=(0, 1), records=6)


def test_each_point_is_the_mean_over_seeds_of_the_best_record(store: Path) -> None:
    rows = pd.read_parquet(store / "steps").query("split == 'test'").astype({"run": str})
    best = rows.groupby("run")["accuracy"].max()
    table = prepare("learning_rates", store).table
    for row in table.to_dict("records"):
        mine = best[[f"{row['norm']}-lr{row['learning_rate']:g}-s{seed}" for seed in (0, 1)]]
        assert row["mean"] == pytest.approx(mine.mean())
        assert row["spread"] == pytest.approx(mine.std(ddof=1))
        assert row["runs"] == 2
    assert len(table) == 9


def test_there_is_a_line_a_norm_with_a_point_a_rate(store: Path, read: Any) -> None:
    picture = figure("learning_rates", store)
    assert read.legend(picture) == ["BN", "SN", "MSN"]
    (axes,) = (axes for axes in picture.axes if axes.get_visible())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.0001", "0.001", "0.1"]
    assert [len(container.lines[0].get_xdata()) for container in axes.containers] == [3, 3, 3]
    middle = np.asarray(axes.containers[1].lines[0].get_xdata(), float)
    np.testing.assert_allclose(middle, [0, 1, 2])


def test_one_learning_rate_is_nothing_to_compare(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"compares learning rates, and all runs have 0\.001"):
        figure("learning_rates", small_store)


def test_runs_that_do_not_say_their_rate_cannot_be_compared(make_store: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="needs learning_rate in the configuration of runs; it has: none"):
        figure("learning_rates", make_store(with_config=False, records=3))


def test_a_split_without_accuracy_raises(store: Path) -> None:
    with pytest.raises(ValueError, match="no accuracy on split 'validation'; the store has: test, train"):
        figure("learning_rates", store, split="validation")
