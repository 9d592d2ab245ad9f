"""Of runs that recorded different things a plain reader of Parquet loses no column; ours show those recorded."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import analysis
from probes import Probe
from probes.dictionary import columns_by_table
from probes.storage.compaction import compact_run
from probes.storage.files import open_store


@pytest.fixture
def two_runs(store):
    for run, metrics in (("a", ["updates"]), ("b", None)):
        model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batch = {} if metrics else {"probe_batch": torch.randn(4, 2, 9)}  # of which table `channels` is
        with Probe(model, optimizer, store=store, run=run, every=1, metrics=metrics, **batch) as probe:
            model(torch.randn(4, 2, 9)).square().mean().backward()
            optimizer.step()
            probe.log(loss=1.0, **({} if metrics else {"lipschitz_bound": 2.0}))
    return store


def test_pandas_loses_no_column_of_any_table(two_runs):
    for table, columns in columns_by_table().items():
        if table == "units":  # written of attention and routers alone
            continue
        whole = pd.read_parquet(two_runs / table)
        assert {column.name for column in columns} <= set(whole.columns), table
    layers = pd.read_parquet(two_runs / "layers").set_index("run")
    assert layers.loc[["a"], "weight_mean"].isna().all()
    assert layers.loc[["b"], "weight_mean"].notna().all()
    assert layers.loc[["a"], "update_ratio"].notna().all()
    assert pd.read_parquet(two_runs / "steps").set_index("run").loc["b", "lipschitz_bound"] == 2.0


def test_our_readers_show_what_was_recorded(two_runs):
    mine = set(analysis.layers(two_runs, runs="a").columns)
    keys = {"run", "step", "epoch", "layer", "layer_index", "layer_type"}
    assert {"update_ratio", "update_angle", "update_alignment"} == mine - keys
    assert "weight_mean" in analysis.layers(two_runs)
    assert "lipschitz_bound" not in analysis.steps(two_runs, runs="a")
    with pytest.raises(ValueError, match="no column weight_mean"):
        analysis.layers(two_runs, runs="a", columns=["weight_mean"])


def test_a_run_that_goes_on_with_other_metrics_has_recorded_both(store):
    for metrics in (["updates"], ["weights"]):
        model = nn.Linear(2, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Probe(model, optimizer, store=store, run="a", every=1, metrics=metrics, resume="auto"):
            model(torch.randn(4, 2)).square().mean().backward()
            optimizer.step()
    compact_run(open_store(store), "a")
    assert len(list((store / "layers" / "run=a").iterdir())) == 1
    rows = analysis.layers(store, columns=["update_ratio", "weight_mean"]).set_index("step")
    assert rows["update_ratio"].notna().tolist() == [True, False]
    assert rows["weight_mean"].notna().tolist() == [False, True]


def test_the_types_are_those_of_the_dictionary(two_runs):
    declared = columns_by_table()
    for table in ("layers", "steps"):
        (part,) = (two_runs / table / "run=a").glob("*.parquet")
        stored = pq.read_schema(part)
        assert {column.name: column.type for column in declared[table]} == {one.name: one.type for one in stored}
