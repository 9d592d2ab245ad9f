from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from analysis.gallery.figure import figure, prepare

Plain = Callable[..., pd.DataFrame]


def test_drift_is_the_weight_mean_less_its_first_record(small_store: Path, plain: Plain) -> None:
    table = prepare("mean_drift", small_store).table
    for (norm, layer), rows in table.groupby(["norm", "layer"], observed=True):
        values = plain(small_store, run=f"{norm}-s0", layer=layer)["weight_mean"].astype(float)
        np.testing.assert_allclose(rows["mean"], values - values[0], atol=1e-12)


def test_seeds_give_mean_and_sample_deviation(seeds_store: Path, plain: Plain) -> None:
    table = prepare("mean_drift", seeds_store, layers="classifier", runs="msn-*").table.set_index("step")
    wide = plain(seeds_store, layer="classifier").pivot(index="step", columns="run", values="weight_mean").astype(float)
    wide = wide.filter(like="msn-")
    moved = wide - wide.iloc[0]
    np.testing.assert_allclose(table["mean"], moved.mean(axis="columns"), atol=1e-12)
    np.testing.assert_allclose(table["spread"], moved.std(axis="columns", ddof=1), atol=1e-12)
    assert set(table["runs"]) == {10}


def test_there_is_a_panel_a_layer_and_a_line_a_norm(small_store: Path, read: Any) -> None:
    picture = figure("mean_drift", small_store)
    panels = read.panels(picture)
    assert list(panels) == ["block1.conv", "block2.conv", "block3.conv", "classifier"]
    assert read.legend(picture) == ["BN", "SN", "MSN"]
    for axes in panels.values():
        assert read.colors(axes) == [to_rgba(color) for color in ("#0072B2", "#D55E00", "#009E73")]


def test_the_lines_are_the_prepared_numbers(small_store: Path, read: Any) -> None:
    table = prepare("mean_drift", small_store).table
    axes = read.panels(figure("mean_drift", small_store))["block2.conv"]
    for norm, line in zip(("bn", "sn", "msn"), read.lines(axes), strict=True):
        rows = table[(table["norm"] == norm) & (table["layer"] == "block2.conv")]
        np.testing.assert_allclose(line, rows[["step", "mean"]])


def test_a_nan_stretch_is_a_gap_and_is_named(seeds_store: Path, read: Any) -> None:
    axes = read.panels(figure("mean_drift", seeds_store, layers="classifier"))["classifier"]
    assert "SN: NaN in\n1 of 10 runs" in read.texts(axes)
    last = [line[-1, 0] for line in read.lines(axes)]
    assert 450 in last  # SN's mean ends at the last record before its NaN, at step 500
    assert any(patch.get_hatch() for patch in axes.patches)


def test_survivors_of_a_nan_are_drawn_apart(seeds_store: Path, plain: Plain, read: Any) -> None:
    axes = read.panels(figure("mean_drift", seeds_store, layers="classifier", runs="sn-*"))["classifier"]
    whole, rest = read.lines(axes)
    assert whole[-1, 0] == 450
    assert rest[0, 0] == 500
    wide = plain(seeds_store, layer="classifier").pivot(index="step", columns="run", values="weight_mean").astype(float)
    moved = (wide - wide.iloc[0]).filter(like="sn-").loc[:, lambda df: ~df.columns.str.startswith("msn")]
    np.testing.assert_allclose(rest[:, 1], moved.drop(columns="sn-s3").mean(axis="columns").loc[500:], atol=1e-12)


def test_a_short_run_ends_its_own_part_of_the_band(seeds_store: Path) -> None:
    table = prepare("mean_drift", seeds_store, layers="classifier", runs="bn-*").table
    assert table.set_index("step")["runs"].loc[[350, 400]].tolist() == [10, 9]


def test_a_hundred_layers_give_six_panels_from_input_to_output(deep_store: Path, read: Any) -> None:
    panels = list(read.panels(figure("mean_drift", deep_store)))
    assert len(panels) == 6
    assert (panels[0], panels[-1]) == ("stem", "classifier")


def test_a_choice_of_layers_is_owned_up_to(deep_store: Path, small_store: Path) -> None:
    pictures = [figure("mean_drift", store) for store in (deep_store, small_store)]
    notes = [" ".join(text.get_text() for text in picture.texts) for picture in pictures]
    assert "; 6 of 100 layers" in notes[0]
    assert "of 4 layers." in notes[1]  # in how many the mean has fallen
    assert "; " not in notes[1].partition("own scale")[2].partition("·")[0]


def test_layers_asked_for_are_all_drawn(deep_store: Path, read: Any) -> None:
    assert len(read.panels(figure("mean_drift", deep_store, layers="block1.*.conv1"))) == 16


def test_too_many_panels_raise(deep_store: Path) -> None:
    with pytest.raises(ValueError, match="64 panels do not fit a page legibly; choose at most 24"):
        figure("mean_drift", deep_store, layers="block1.*")


def test_the_paper_shows_the_smoothed_mean_of_three_convolutions(deep_store: Path, plain: Plain) -> None:
    prepared = prepare("mean_drift", deep_store, paper=True)
    assert list(dict.fromkeys(prepared.table["layer"])) == ["block1.2.conv2", "block2.5.conv1", "block3.8.conv2"]
    rows = prepared.table[(prepared.table["norm"] == "sn") & (prepared.table["layer"] == "block2.5.conv1")]
    values = plain(deep_store, run="sn-s0", layer="block2.5.conv1")["weight_mean"].astype(float)
    np.testing.assert_allclose(rows["mean"], values.rolling(15, min_periods=1).mean(), atol=1e-9)
