"""A run that has rows, and no row in table ``runs``: it was copied in part, or its row was deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

import analysis
from analysis.report.data import report_data
from analysis.terminal.watch import view
from probes import Recorder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Runs ``a``, with its row, and ``b`` and ``c`` without; the rows of ``c`` are in its log."""
    for run in ("a", "b", "c"):
        recorder = Recorder(tmp_path, run, config={"norm": run})
        for step in range(3):
            keys = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
            recorder.write("layers", pa.RecordBatch.from_pylist([{**keys, "weight_mean": step / 2}]))
        recorder._owner.forget() if run == "c" else recorder.close()
    for run in ("b", "c"):
        shutil.rmtree(tmp_path / "runs" / f"run={run}")
    return tmp_path


def test_such_runs_are_listed_with_nulls(store: Path) -> None:
    runs = analysis.runs(store)
    assert runs["run"].tolist() == ["a", "b", "c"]
    without = runs.set_index("run").loc[["b", "c"]]
    assert without.isna().all(axis=None)
    assert runs["norm"].iloc[0] == "a"
    assert analysis.runs(store, runs="b")["run"].tolist() == ["b"]


def test_a_store_of_such_runs_alone_is_listed_too(store: Path) -> None:
    shutil.rmtree(store / "runs")
    runs = analysis.runs(store)
    assert runs["run"].tolist() == ["a", "b", "c"]
    assert {"status", "last_step", "gaps", "updated"} <= set(runs)
    assert runs.drop(columns="run").isna().all(axis=None)


def test_an_empty_folder_is_no_run(store: Path) -> None:
    (store / "layers" / "run=d").mkdir()
    assert "d" not in analysis.runs(store)["run"].tolist()


def test_settings_join_tables_of_such_runs(store: Path) -> None:
    settled = analysis.with_settings(analysis.layers(store), store, ["norm"])
    assert settled.loc[settled["run"] == "a", "norm"].tolist() == ["a"] * 3
    assert settled.loc[settled["run"] != "a", "norm"].isna().sum() == 6


def test_report_and_watch_show_them(store: Path) -> None:
    data = report_data(store)
    assert [(run["id"], run["status"], run["lastStep"]) for run in data["runs"]] == [
        ("a", "finished", 2),
        ("b", "–", None),
        ("c", "–", None),
    ]
    json.dumps(data, allow_nan=False)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(view(store, run="b", column="weight_mean", width=100))
    assert "status unknown: it has no row in table runs" in shown.get()
    with console.capture() as shown:
        console.print(view(store, column="weight_mean", width=100))
    assert "finished, updated" in shown.get()  # the run updated last, not one of unknown time


def test_a_table_that_is_whole_is_as_it_was(store: Path) -> None:
    for run in ("b", "c"):
        shutil.rmtree(store / "layers" / f"run={run}", ignore_errors=True)
        shutil.rmtree(store / "_writers" / run, ignore_errors=True)
    runs = analysis.runs(store)
    assert runs["run"].tolist() == ["a"]
    assert pd.api.types.is_integer_dtype(runs["last_step"])
