from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

from analysis.reading.rows_by_run import rows_by_run
from analysis.reading.store import Store
from analysis.reading.tables import load
from probes import Probe
from probes.storage.recorder import Recorder

RUNS = ["sn-s0", "bn-s0", "msn-s0"]


@pytest.mark.parametrize("batch_bytes", [1, 60_000, 1 << 30])
def test_each_run_comes_with_its_rows_whatever_the_batches(small_store: Path, batch_bytes: int) -> None:
    store = Store(small_store)
    found = rows_by_run(store, "layers", columns=["weight_mean", "operator_norm"], runs=RUNS, batch_bytes=batch_bytes)
    for wanted, (run, rows) in zip(RUNS, found, strict=True):
        assert run == wanted
        mine = load(store, "layers", columns=["weight_mean", "operator_norm"], runs=run)
        assert rows.num_rows == len(mine)
        pd.testing.assert_series_equal(rows["weight_mean"].to_pandas(), mine["weight_mean"], check_names=False)


def test_a_column_that_a_run_did_not_measure_is_left_out_and_nan_is_no_null(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn", "sn"], records=4, nan_from={"sn-s0": 0})
    make_store(norms=["bn"], records=4, without_columns=["grad_var"])  # of the run before it
    found = dict(rows_by_run(Store(store), "layers", columns=["grad_var", "gone"], runs=["bn-s0", "sn-s0"]))
    assert "grad_var" not in found["bn-s0"].column_names
    assert found["sn-s0"]["grad_var"].null_count == 0
    assert found["sn-s0"]["grad_var"].to_pandas().isna().all()


@pytest.mark.filterwarnings("ignore:probe:RuntimeWarning")  # it is said that nothing is seen
def test_a_column_that_a_run_recorded_stays_though_nothing_could_be_measured(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2).eval()  # of which no training pass is seen
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for run, metrics in (("both", ["weights", "activations"]), ("weights", ["weights"])):
        with Probe(model, optimizer, store=tmp_path, run=run, every=1, metrics=metrics):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    found = dict(rows_by_run(Store(tmp_path), "layers", columns=["activation_mean"], runs=["both", "weights"]))
    assert found["both"]["activation_mean"].null_count == 1
    assert "activation_mean" not in found["weights"].column_names


def test_rows_of_a_log_are_among_them_and_a_run_without_rows_is_empty(tmp_path: Path) -> None:
    with Recorder(tmp_path, "one") as one, Recorder(tmp_path, "two"):
        one.write("steps", pa.RecordBatch.from_pylist([{"step": 3, "split": "train", "loss": 1.0}]))
        found = dict(rows_by_run(Store(tmp_path), "steps", columns=["loss"], runs=["one", "two"]))
    assert found["one"]["loss"].to_pylist() == [1.0]
    assert found["two"].num_rows == 0
    assert found["two"].column_names == ["step", "epoch", "split"]
