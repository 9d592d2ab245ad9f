from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.reading.run_table import config_of, with_settings


def test_the_configuration_becomes_columns(small_store: Path) -> None:
    runs = analysis.runs(small_store).set_index("run")
    assert runs["norm"].to_dict() == {"bn-s0": "bn", "sn-s0": "sn", "msn-s0": "msn"}
    assert runs["learning_rate"].tolist() == [0.001] * 3
    assert "config" not in runs
    assert set(runs["status"]) == {"finished"}


def test_a_run_without_configuration_has_none(make_store: Callable[..., Path]) -> None:
    assert "norm" not in analysis.runs(make_store(with_config=False, records=2))


def write_run(store: Path, run: str, config: object) -> None:
    folder = store / "runs" / f"run={run}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"config": [json.dumps(config)], "device": ["cpu"]}), folder / "part-0.parquet")


def test_nested_settings_get_dotted_names_and_clashes_a_prefix(tmp_path: Path) -> None:
    write_run(tmp_path, "a", {"optimizer": {"betas": [0.9, 0.99], "lr": 0.1}, "device": "auto"})
    write_run(tmp_path, "b", {"width": 3})
    runs = analysis.runs(tmp_path).set_index("run")
    assert runs.loc["a", "optimizer.lr"] == 0.1
    assert runs.loc["a", "optimizer.betas"] == "[0.9, 0.99]"
    assert runs.loc["a", "device"] == "cpu"
    assert runs.loc["a", "config_device"] == "auto"
    assert pd.isna(runs.loc["a", "width"])
    assert runs.loc["b", "width"] == 3


def test_a_configuration_that_is_no_object_is_none_and_named(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [1, 2])
    write_run(tmp_path, "b", {"norm": "bn"})
    with pytest.warns(UserWarning, match="'config of run a' is left out: it is not a JSON dict"):
        assert analysis.runs(tmp_path)["norm"].fillna("").tolist() == ["", "bn"]


@pytest.mark.parametrize("row", [{}, {"config": None}, {"config": ""}, {"config": float("nan")}])
def test_no_configuration_is_an_empty_one(row: dict[str, object]) -> None:
    assert config_of(row) == {}


def test_settings_join_a_table_by_run(small_store: Path) -> None:
    rows = with_settings(analysis.steps(small_store), small_store, ["norm", "seed"])
    assert (rows["run"].str.removesuffix("-s0") == rows["norm"]).all()


def test_an_absent_setting_raises_unless_optional(small_store: Path) -> None:
    rows = analysis.steps(small_store)
    with pytest.raises(ValueError, match="no run has the setting dropout in its configuration; there are: norm, model"):
        with_settings(rows, small_store, ["dropout"])
    assert with_settings(rows, small_store, ["dropout"], optional=True)["dropout"].isna().all()
