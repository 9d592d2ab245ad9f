"""Stores outlive the program that wrote them: what version 1 wrote is committed here and stays readable."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.reading import tables
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.verify import verify

VERSION_1 = Path(__file__).parent / "store_v1"


def test_version_1_is_read_by_plain_pandas():
    layers = pd.read_parquet(VERSION_1 / "layers")
    assert layers.pivot(index="step", columns="layer", values="weight_mean").to_numpy().tolist() == [
        [0, 0.25],
        [0.25, 0.5],
        [0.5, 0.75],
    ]
    assert pd.read_parquet(VERSION_1 / "spectra")["singular_values"].map(list).tolist() == [[2.0, 1.0]] * 6
    assert pd.read_parquet(VERSION_1 / "steps")["loss"].tolist() == [2.0, 1.5, 1.0]


def test_version_1_is_read_by_the_tables_and_found_sound():
    assert tables.layers(VERSION_1, columns=["weight_mean"], layers="conv2")["weight_mean"].tolist() == [
        0.25,
        0.5,
        0.75,
    ]
    assert tables.fields(VERSION_1, "layers")["weight_mean"].formula == "mean of the entries"
    assert verify(open_store(VERSION_1)).faults == []


def test_a_run_of_version_1_can_be_gone_on_with(tmp_path):
    store = shutil.copytree(VERSION_1, tmp_path / "store")
    with Recorder(store, "bn-s0", resume_step=100) as recorder:
        row = {"step": 100, "layer": "conv1", "layer_index": 0, "layer_type": "Conv2d"}
        recorder.write("layers", pa.RecordBatch.from_pylist([{**row, "weight_mean": 9.0, "new_metric": 1.0}]))
    table = tables.layers(store)
    assert table["step"].tolist() == [0, 0, 50, 50, 100]
    assert table["new_metric"].isna().tolist() == [True] * 4 + [False]
    assert verify(open_store(store)).faults == []


def test_parts_with_fewer_columns_read_as_nulls_beside_those_with_more(tmp_path):
    """An older schema is one that lacks columns: here a part written before ``epoch`` and ``layer_type`` were there."""
    store = shutil.copytree(VERSION_1, tmp_path / "store")
    [part] = store.glob("layers/run=bn-s0/*.parquet")
    older = pq.ParquetFile(part).read().drop_columns(["epoch", "layer_type", "weight_mean"])
    pq.write_table(older, part)
    with Recorder(store, "sn-s0") as recorder:
        row = {"step": 0, "layer": "conv1", "layer_index": 0, "layer_type": "Conv2d", "weight_mean": 9.0}
        recorder.write("layers", pa.RecordBatch.from_pylist([row]))
    table = tables.layers(store)
    assert table["weight_mean"].isna().tolist() == [True] * 6 + [False]
    assert table["layer_type"].isna().tolist() == [True] * 6 + [False]
