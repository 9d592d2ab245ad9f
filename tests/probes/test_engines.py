"""The one-liners of the README: a store is read by any Parquet engine with no help from us."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from probes.storage.recorder import Recorder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for run in ("bn-s0", "sn-s0"):
        with Recorder(folder, run) as recorder:
            for step in range(4):
                rows = [
                    {"step": step, "layer": layer, "layer_index": at, "layer_type": "Conv2d", "weight_mean": step + at}
                    for at, layer in enumerate(["conv1", "conv2"])
                ]
                recorder.write("layers", pa.RecordBatch.from_pylist(rows))
                if run == "bn-s0":
                    recorder.flush()
    return folder


EXPECTED = [0.0, 1.0, 2.0, 3.0]


def test_pandas(store):
    df = pd.read_parquet(f"{store}/layers", filters=[("run", "==", "bn-s0"), ("layer", "==", "conv1")])
    assert df["weight_mean"].tolist() == EXPECTED


def test_duckdb(store):
    duckdb = pytest.importorskip("duckdb")
    df = duckdb.sql(
        f"SELECT weight_mean FROM '{store}/layers/**/*.parquet' WHERE run = 'bn-s0' AND layer = 'conv1' ORDER BY step"
    ).df()
    assert df["weight_mean"].tolist() == EXPECTED


def test_polars(store):
    pl = pytest.importorskip("polars")
    rows = pl.scan_parquet(f"{store}/layers/**/*.parquet", hive_partitioning=True)
    df = rows.filter(pl.col("run") == "bn-s0", pl.col("layer").cast(pl.String) == "conv1").sort("step").collect()
    assert df["weight_mean"].to_list() == EXPECTED


@pytest.mark.filterwarnings("ignore")  # the engine's own
def test_dask(store):
    dd = pytest.importorskip("dask.dataframe", reason="pip install 'dask[dataframe]'")
    df = dd.read_parquet(f"{store}/layers", filters=[("run", "==", "bn-s0"), ("layer", "==", "conv1")])
    assert df["weight_mean"].compute().tolist() == EXPECTED


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the engine's own
def test_ray(store):
    ray = pytest.importorskip("ray.data", reason="pip install 'ray[data]'")
    table = ray.read_parquet(f"{store}/layers").filter(expr="run == 'bn-s0' and layer == 'conv1'").to_pandas()
    np.testing.assert_array_equal(table.sort_values("step")["weight_mean"], EXPECTED)
