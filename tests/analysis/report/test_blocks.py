from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from large_stores import write_large_store
from pages import lines_in

from analysis.reading.store import Store
from analysis.report.blocks import Wanted, blocks
from analysis.report.columns import DEFAULTS
from analysis.report.data import as_page, report_data
from probes.schema import LAYERS, STEPS


def test_the_lines_are_the_recorded_column(small_store: Path) -> None:
    rows = pd.read_parquet(small_store / "layers").astype({"run": str, "layer": str})
    lines = lines_in(report_data(small_store), "layers.grad_sparsity")
    assert len(lines) == 4 + 7 + 7  # normalisation layers too
    for (run, layer), (steps, values) in lines.items():
        mine = rows[(rows["run"] == run) & (rows["layer"] == layer)].sort_values("step")
        np.testing.assert_array_equal(steps, mine["step"])
        np.testing.assert_array_equal(values, mine["grad_sparsity"])


def test_losses_are_lines_by_split(small_store: Path) -> None:
    lines = lines_in(report_data(small_store), "steps.loss")
    rows = pd.read_parquet(small_store / "steps").astype({"run": str, "split": str})
    mine = rows[(rows["run"] == "sn-s0") & (rows["split"] == "test")]
    np.testing.assert_array_equal(lines["sn-s0", "test"][1], mine["loss"].astype("float32"))
    assert {split for _, split in lines} == {"train", "test"}


def test_null_is_no_point_and_nan_is_one(make_store: Callable[..., Path]) -> None:
    data = report_data(make_store(norms=["sn"], records=10, nan_from={"sn-s0": 5}))
    steps, values = lines_in(data, "layers.grad_l2_norm")["sn-s0", "block1.conv"]
    assert len(steps) == 10
    np.testing.assert_array_equal(np.isnan(values), steps >= 250)


def test_a_column_of_a_finding_has_the_lines_of_its_run_alone(make_store: Callable[..., Path]) -> None:
    data = report_data(make_store(norms=["bn", "sn"], records=10, nan_from={"sn-s0": 5}))
    assert {run for run, _ in lines_in(data, "layers.weight_nonfinite")} == {"sn-s0"}


def test_layers_are_in_forward_order_and_runs_in_that_of_the_page(small_store: Path) -> None:
    data = report_data(small_store)
    lists, of = data["names"]["lists"], data["names"]["of"][LAYERS]
    assert lists[of[2]] == ["block1.conv", "block2.conv", "block3.conv", "classifier"]
    assert lists[of[0]][:2] == ["block1.conv", "block1.norm"]
    assert [data["names"]["types"][place][1] for place in of[:2]] == ["BatchNorm2d", "MeanCentring"]
    assert [run["id"] for run in data["runs"]] == ["bn-s0", "msn-s0", "sn-s0"]


@pytest.mark.parametrize("budget", [100, 10_000])
def test_lines_of_many_records_are_thinned_and_the_page_says_so(tmp_path: Path, budget: int) -> None:
    store = write_large_store(tmp_path / "runs", runs=2, layers=3, records=600)
    wanted = Wanted(["run-000", "run-001"], DEFAULTS, kept_steps={"run-001": [1230]}, budget=budget)
    read = blocks(Store(store), wanted)
    page = as_page(read)
    data = {**page, "runs": [{"id": "run-000"}, {"id": "run-001"}]}
    lines = lines_in(data, "layers.spectral_norm")
    most = 50 if budget == 100 else 208
    assert page["thinning"] == {"points": most, "thinned": True, "exact": True}
    assert {len(steps) <= most + 1 for steps, _ in lines.values()} == {True}
    assert 1230 in lines["run-001", "blocks.0.attention.linear0"][0]


def test_runs_of_more_layers_than_the_first_are_counted(tmp_path: Path) -> None:
    store = write_large_store(tmp_path / "runs", runs=1, layers=1, records=300)
    write_large_store(tmp_path / "other", runs=2, layers=30, records=300)
    for table in (LAYERS, STEPS, "runs"):
        (tmp_path / "other" / table / "run=run-001").rename(store / table / "run=run-001")
    read = blocks(Store(store), Wanted(["run-000", "run-001"], DEFAULTS, budget=8_000))
    assert read.most == 50


def test_rows_of_one_step_that_measure_different_columns_are_both_read(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "steps" / "run=r"
    folder.mkdir(parents=True)
    rows = {"step": [0, 0], "split": ["train", "train"], "loss": [1.0, None], "accuracy": [None, 0.5]}
    pq.write_table(pa.table(rows), folder / "part-0.parquet")
    data = report_data(tmp_path / "runs")
    assert lines_in(data, "steps.loss")["r", "train"][1] == [1.0]
    assert lines_in(data, "steps.accuracy")["r", "train"][1] == [0.5]


@pytest.mark.slow
def test_a_page_of_20_runs_of_300_layers_stays_below_10_mb(tmp_path: Path) -> None:
    from analysis.report.report import write_report

    store = write_large_store(tmp_path / "runs", runs=20, layers=300, records=200)
    page = write_report(store, tmp_path / "report.html")
    assert page.stat().st_size < 10_000_000
