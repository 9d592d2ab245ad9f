from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.findings import FINDINGS
from analysis.report.data import report_data, settings_table


def test_settings_are_split_by_whether_runs_differ_in_them() -> None:
    runs = pd.DataFrame({"run": ["a", "b"], "norm": ["bn", "sn"], "seed": [0, 0], "rate": [0.1, float("nan")]})
    table = settings_table(runs.assign(status="finished"))
    assert table == {"same": [["seed", "0"]], "different": [["norm", ["bn", "sn"]], ["rate", ["0.1", "–"]]]}


def test_the_data_are_json_and_the_same_twice(small_store: Path) -> None:
    one, two = (json.dumps(report_data(small_store), allow_nan=False) for _ in range(2))
    assert one == two
    assert str(small_store.parent) not in one


def test_each_run_has_its_arms_look(small_store: Path) -> None:
    runs = {run["id"]: run for run in report_data(small_store)["runs"]}
    assert {name: run["color"] for name, run in runs.items()} == {
        "bn-s0": "#0072B2",
        "msn-s0": "#009E73",
        "sn-s0": "#D55E00",
    }
    assert runs["sn-s0"]["lastStep"] == 1950


def test_findings_have_cause_remedy_and_layers(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=10, nan_from={"sn-s0": 5})
    first = report_data(store)["findings"][0]
    assert (first["kind"], first["severity"], first["from"]) == ("NaN", "grave", 250)
    assert first["where"] == "layer block1.conv and 3 other layers"
    assert first["cause"]
    assert first["remedy"]
    assert first["affected"] == ["block1.conv", "block2.conv", "block3.conv", "classifier"]


def test_a_store_of_nothing_but_runs_gives_a_page(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=2, without_tables=["layers", "steps", "spectra", "histograms"])
    data = report_data(store)
    assert data["columns"] == []
    assert data["histograms"] == []
    assert data["spectra"] == []
    assert data["findings"] == []
    assert data["kinds"] == list(FINDINGS)
