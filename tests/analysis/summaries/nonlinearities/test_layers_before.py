"""The layers before a nonlinearity: recorded, or guessed by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from analysis.gallery.figure import prepare
from analysis.report.data import report_data
from analysis.summaries.nonlinearities.layers_before import guessed, pre_activation_layers
from probes import schema
from tests.analysis.conftest import write_part
from tests.analysis.report.pages import lines_in


def table(*layers: tuple[str, str], arm: str = "A") -> pd.DataFrame:
    names, kinds = zip(*layers, strict=True)
    return pd.DataFrame({"arm": arm, "layer": names, "layer_index": range(len(layers)), "layer_type": kinds})


BN = table(("conv1", "Conv2d"), ("bn1", "BatchNorm2d"), ("conv2", "Conv2d"), ("bn2", "BatchNorm2d"), ("fc", "Linear"))
SN = table(("conv1", "Conv2d"), ("conv2", "Conv2d"), ("fc", "Linear"), arm="B")


def test_norms_are_guessed_where_there_are_some_and_no_output() -> None:
    chosen = pre_activation_layers(pd.concat([BN, SN], ignore_index=True))
    assert chosen[chosen["arm"] == "A"]["layer"].tolist() == ["bn1", "bn2"]
    assert chosen[chosen["arm"] == "B"]["layer"].tolist() == ["conv1", "conv2"]
    assert chosen["layer_index"].tolist() == [0, 1, 0, 1]


def test_a_single_layer_is_not_left_out() -> None:
    assert guessed(table(("fc", "Linear")), by="arm").tolist() == [True]


def test_what_was_recorded_goes_before_the_guess() -> None:
    rows = table(("norm", "LayerNorm"), ("up", "Linear"), ("down", "Linear"), ("head", "Linear"))
    chosen = pre_activation_layers(rows.assign(feeds_nonlinearity=[False, True, False, False]))
    assert chosen["layer"].tolist() == ["up"]
    assert chosen["layer_index"].tolist() == [0]


@pytest.mark.parametrize("name", ["drift_map", "dead_fraction"])
def test_layers_that_are_asked_for_are_still_those_before_a_nonlinearity(name: str, small_store: Path) -> None:
    asked = prepare(name, small_store, layers="block1.*,classifier").table
    layers = asked.groupby("norm")["layer"].unique().map(list).to_dict()
    assert layers == {"bn": ["block1.norm"], "sn": ["block1.conv"], "msn": ["block1.norm"]}
    with pytest.raises(ValueError, match="no nonlinearity is given the output of classifier"):
        prepare(name, small_store, layers="classifier")


def test_runs_that_say_nothing_of_it_are_guessed_by_all_of_their_layers(make_store: Any) -> None:
    store = make_store(norms=["bn", "sn"], records=2, without_columns=["feeds_nonlinearity"])
    asked = prepare("dead_fraction", store, layers="block1.*").table
    assert asked.groupby("norm")["layer"].unique().map(list).to_dict() == {"bn": ["block1.norm"], "sn": ["block1.conv"]}


def record_channels(store: Path, run: str, layers: list[tuple[int, str]]) -> None:
    count = len(layers)
    words = pa.array([name for _, name in layers]).dictionary_encode()
    rows: dict[str, Any] = {
        "step": pa.array([0] * count, pa.int64()),
        "epoch": pa.array([0] * count, pa.int32()),
        "layer": words,
        "layer_index": pa.array([index for index, _ in layers], pa.int16()),
        "layer_type": pa.array(["Conv2d"] * count).dictionary_encode(),
        "channel": pa.array([0] * count, pa.int32()),
        "nonlinearity": pa.array(["relu"] * count).dictionary_encode(),
        **{column.name: pa.array([0.5] * count, pa.float32()) for column in schema.CHANNEL_NUMBERS},
    }
    write_part(store, schema.CHANNELS, run, rows, schema.CHANNEL_COLUMNS)


def test_table_channels_says_which_layers_are_shown_in_figure_and_report(make_store: Any) -> None:
    store = make_store(norms=["bn", "sn"], records=4, without_columns=["feeds_nonlinearity"])
    record_channels(store, "bn-s0", [(2, "block2.conv")])
    shown = prepare("drift_map", store).table.groupby("norm")["layer"].unique().map(list).to_dict()
    assert shown == {"bn": ["block2.conv"], "sn": ["block1.conv", "block2.conv", "block3.conv"]}
    page = report_data(store)
    for column in ("layers.activation_drift", "layers.dead_fraction"):
        lines = set(lines_in(page, column))
        assert {layer for run, layer in lines if run == "bn-s0"} == {"block2.conv"}
        assert {layer for run, layer in lines if run == "sn-s0"} == {"block1.conv", "block2.conv", "block3.conv"}
