"""Stores outlive the program that wrote them: what version 1 wrote is committed here and stays readable."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.figures import FIGURES
from analysis.findings import findings
from analysis.gallery.figure import figure, prepare
from analysis.paper.table_book import write_tables
from analysis.query import query
from analysis.reading import tables
from analysis.reading.sample_grids import sample_grids
from analysis.reading.store import Store
from probes import schema
from probes.dictionary import columns_by_table
from probes.storage.export import export
from probes.storage.files import open_store
from probes.storage.record_thinning import thin_run
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
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


FULL = Path(__file__).parents[1] / "stores" / "version_1"
"""Two trainings and a GAN, recorded by version 0.1 with every column that it had: see its README."""


OF_LATER_MEASURES = {
    "channels": "has no table 'channels'; it has layers, ",
    "attention_map": "has no table 'units'; it has layers, ",
    "router_map": "has no table 'units'; it has layers, ",
    "residual_map": "needs input_rms in table 'layers'",
    "coordinate_check": "needs activation_rms in table 'layers'",
    "landscape": "needs loss_along_gradient_min, loss_along_gradient_max in table 'steps'; it has: ",
}
"""Figures of what version 1 did not measure: what they say is missing."""


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OF_LATER_MEASURES])
def test_every_figure_is_prepared_from_version_1(name):
    runs = "gan-s0" if FIGURES[name].of_gans else "sn-*"
    ready = prepare(name, FULL, runs=runs)
    assert len(ready.table)
    assert name not in {"mean_drift", "accuracy", "gan_samples"} or ready.draw().axes


@pytest.mark.parametrize("name", OF_LATER_MEASURES)
def test_a_figure_of_what_version_1_did_not_measure_is_refused_in_one_line_that_names_it(name):
    with pytest.raises(ValueError, match=OF_LATER_MEASURES[name]) as refused:
        figure(name, FULL, runs="sn-*")
    assert "\n" not in str(refused.value)


def test_every_reader_takes_version_1():
    opened = Store(FULL)
    for read in (analysis.layers, analysis.parameters, analysis.histograms, analysis.spectra, analysis.steps):
        assert len(read(opened))
    assert len(analysis.runs(opened)) == 3
    assert len(sample_grids(opened)) == 3
    assert set(findings(opened).columns) >= {"run", "kind"}
    assert len(analysis.groups(opened, {"blocks": "features.*"}, runs="sn-*", columns=["grad_l2_norm"]))
    assert analysis.diff("sn-0.001-s0", "sn-0.001-s0", store=opened).empty
    assert len(write_tables(FULL, formats=["md"]).texts)
    assert verify(open_store(FULL)).faults == []


def test_version_1_answers_sql():
    pytest.importorskip("duckdb")
    answer = query(FULL, "SELECT count(*) AS n FROM layers WHERE run = 'gan-s0'")
    assert answer["n"].item() == len(analysis.layers(FULL, runs="gan-s0"))


def test_every_column_that_version_1_lacks_is_of_a_later_one():
    present = {table: set(Store(FULL).dataset(table).schema.names) for table in Store(FULL).tables()}
    assert set(present) == {"layers", "histograms", "spectra", "parameters", "steps", "runs"}
    for table, columns in columns_by_table().items():
        for column in columns:
            assert column.name in present.get(table, ()) or schema.since(table, column.name) > 1, (table, column.name)


def test_the_page_says_what_changed_in_each_column_that_version_1_had():
    page = (Path(__file__).parents[2] / "docs" / "store.md").read_text()
    present = {name for table in Store(FULL).tables() for name in Store(FULL).dataset(table).schema.names}
    for table, columns in columns_by_table().items():
        changed = {column.name for column in columns if schema.since(table, column.name) == 2}
        if len(changed) == len(columns):  # the table itself is new
            assert f"table `{table}`" in page
        else:
            assert {name for name in changed & present if f"`{name}`" not in page} == set()


@pytest.fixture
def newer(tmp_path, monkeypatch):
    """Return a store with one run of now and one of a version to come."""
    folder = shutil.copytree(FULL, tmp_path / "store")
    for part in folder.glob("*/run=sn-0.01-s0/*.parquet"):
        rows = pq.ParquetFile(part).read()
        pq.write_table(rows.replace_schema_metadata({schema.VERSION_KEY: "99"}), part)
    return folder


READERS = {
    "layers": analysis.layers,
    "runs": analysis.runs,
    "figure": lambda store: figure("mean_drift", store),
    "findings": findings,
    "groups": lambda store: analysis.groups(store, {"all": "*"}),
    "diff": lambda store: analysis.diff("sn-0.001-s0", "sn-0.01-s0", store=store),
    "query": lambda store: query(store, "SELECT * FROM layers"),
    "export": lambda store: export(open_store(store), store.parent / "out.csv", table="layers", kind="csv"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_store_of_a_later_version_is_refused_in_one_line(reader, newer):
    if reader == "query":
        pytest.importorskip("duckdb")
    with pytest.raises(ValueError, match="has schema version 99, and this meandrift reads versions 1 to 2") as refused:
        READERS[reader](newer)
    assert "\n" not in str(refused.value)
    assert "pip install -U meandrift" in str(refused.value)


def test_the_other_runs_of_such_a_store_are_read(newer):
    assert set(analysis.layers(newer, runs="sn-0.001-s0")["run"]) == {"sn-0.001-s0"}
    assert figure("mean_drift", newer, runs="sn-0.001-s0").axes


def test_a_later_version_is_neither_compacted_nor_recovered(newer, caplog):
    files = open_store(newer)
    with pytest.raises(schema.NewerSchemaError, match="schema version 99"):
        thin_run(files, "sn-0.01-s0", 2)
    log = newer / "_writers" / "dead"
    log.mkdir(parents=True)
    rows = pa.RecordBatch.from_pydict({"step": [0], "layer": ["a"]})
    later = rows.schema.with_metadata({schema.VERSION_KEY: "99"})
    with pa.OSFile(str(log / "layers-00000001.arrows"), "wb") as sink, pa.ipc.new_stream(sink, later) as stream:
        stream.write_batch(rows)
    assert recover_dead(files) == []
    assert "dead' is not recovered" in caplog.text
    assert (log / "layers-00000001.arrows").exists()
    with pytest.raises(ValueError, match=r"layers-00000001\.arrows has schema version 99"):
        analysis.layers(newer, runs="dead")


def test_parts_of_two_versions_are_joined_apart(tmp_path):
    """What a number means is said by the version of its file."""
    store = shutil.copytree(VERSION_1, tmp_path / "store")
    for step in (100, 150):
        with Recorder(store, "bn-s0", resume_step=step) as recorder:
            row = {"step": step, "layer": "conv1", "layer_index": 0, "layer_type": "Conv2d", "weight_mean": 9.0}
            recorder.write("layers", pa.RecordBatch.from_pylist([row]))
    parts = sorted(store.glob("layers/run=bn-s0/*.parquet"))
    versions = [schema.version_of(pq.read_schema(part).metadata) for part in parts]
    assert versions == [1, 2]
    assert tables.layers(store)["step"].tolist() == [0, 0, 50, 50, 100, 150]
    assert analysis.runs(store)["schema_version"].tolist() == [1]
