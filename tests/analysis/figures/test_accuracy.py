from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.gallery.figure import figure, prepare


def test_accuracy_is_averaged_over_seeds_by_split_and_step(seeds_store: Path) -> None:
    rows = pd.read_parquet(seeds_store / "steps").astype({"run": str})
    rows = rows[rows["run"].str.startswith("msn-") & rows["accuracy"].notna()]
    expected = rows.groupby(["split", "step"], observed=True)["accuracy"].agg(["mean", "std"])
    table = prepare("accuracy", seeds_store, runs="msn-*").table.astype({"split": str}).set_index(["split", "step"])
    expected = expected.reset_index().astype({"split": str}).set_index(["split", "step"]).loc[table.index]
    np.testing.assert_allclose(table["mean"], expected["mean"])
    np.testing.assert_allclose(table["spread"], expected["std"])


def words(picture: Figure) -> str:
    return " ".join(text.get_text() for text in picture.texts)


def test_test_data_come_first_and_the_message_names_the_best(small_store: Path, read: Any) -> None:
    picture = figure("accuracy", small_store)
    assert list(read.panels(picture)) == ["test data", "train data"]
    tested = pd.read_parquet(small_store / "steps").query("split == 'test'")
    best = tested.groupby("run", observed=True)["accuracy"].max()
    named = ", ".join(f"{norm.upper()} {100 * best[f'{norm}-s0']:.2f} %" for norm in ("bn", "sn", "msn"))
    assert f"Best test record of a run: {named}" in words(picture)


def test_the_best_is_the_mean_of_the_bests_and_not_the_best_of_the_mean(seeds_store: Path) -> None:
    rows = pd.read_parquet(seeds_store / "steps").query("split == 'test'").astype({"run": str})
    best = rows[rows["run"].str.startswith("msn-")].groupby("run", observed=True)["accuracy"].max()
    prepared = prepare("accuracy", seeds_store, runs="msn-*")
    table = prepared.table[prepared.table["split"] == "test"]
    np.testing.assert_allclose(table["best"], best.mean())
    np.testing.assert_allclose(table["best_spread"], best.std(ddof=1))
    assert best.mean() > table["mean"].max() + 1e-4
    assert f"MSN {100 * best.mean():.2f} ± {100 * best.std(ddof=1):.2f} %" in words(prepared.draw())


def test_the_axis_is_in_per_cent(small_store: Path, read: Any) -> None:
    picture = figure("accuracy", small_store)
    FigureCanvasAgg(picture)
    picture.draw_without_rendering()
    axes = read.panels(picture)["test data"]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels
    assert all(label.endswith(" %") for label in labels)


def test_of_many_arms_the_best_of_each_norm_is_named(make_store: Any, read: Any) -> None:
    store = make_store(learning_rates=(0.1, 0.01, 0.001), records=6)
    note = words(figure("accuracy", store)).partition("Best test record of a run: ")[2]
    assert [note.count(f"{norm}, learning rate") for norm in ("BN", " SN", "MSN")] == [1, 1, 1]
    assert len(read.legend(figure("accuracy", store))) == 9


def test_runs_of_different_networks_stand_together(make_store: Any, read: Any) -> None:
    store = make_store(records=4)
    make_store("other", model="densenet", norms=["bn"], records=4)
    for table in ("steps", "runs", "layers"):
        (store.parent / "other" / table / "run=bn-s0").rename(store / table / "run=dense-bn")
    assert read.legend(figure("accuracy", store)) == [
        "BN, model cnn3",
        "BN, model densenet",
        "SN, model cnn3",
        "MSN, model cnn3",
    ]


def test_single_batches_are_shown_as_means_of_blocks_and_the_panel_says_so(make_store: Any, read: Any) -> None:
    store = make_store(norms=["bn"], records=450)
    prepared = prepare("accuracy", store)
    assert list(read.panels(prepared.draw())) == ["test data", "train data, means of 3 records"]
    rows = pd.read_parquet(store / "steps").query("split == 'train'").sort_values("step")
    expected = rows["accuracy"].to_numpy().reshape(150, 3).mean(axis=1)
    train = prepared.table[prepared.table["split"] == "train"]
    np.testing.assert_allclose(train["mean"], expected)
    np.testing.assert_array_equal(train["step"], rows["step"].to_numpy()[2::3])
