import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from analysis.query import query
from probes.storage.recorder import Recorder

duckdb = pytest.importorskip("duckdb", reason="pip install 'meandrift[query]'")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs, the second with a column that the first lacks, in a folder whose name needs quoting."""
    folder = tmp_path / "it's 100% mine"
    for run, extra in (("bn-s0", {}), ("sn-s0", {"spectral_norm": 2.0})):
        with Recorder(folder, run, config={"norm": run[:2]}) as recorder:
            for step in range(3):
                row = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "weight_mean": step / 2}
                recorder.write("layers", pa.RecordBatch.from_pylist([{**row, **extra}]))
    return folder


def test_tables_are_views_under_their_names_with_the_run_as_a_column(store):
    answer = query(store, "SELECT run, avg(weight_mean) AS mean FROM layers GROUP BY run ORDER BY run")
    assert answer.to_dict("list") == {"run": ["bn-s0", "sn-s0"], "mean": [0.5, 0.5]}


def test_a_column_that_a_run_lacks_is_null_for_it(store):
    answer = query(store, "SELECT run, count(spectral_norm) AS n FROM layers GROUP BY run ORDER BY run")
    assert answer["n"].tolist() == [0, 3]


def test_the_configuration_of_a_run_can_be_joined(store):
    answer = query(store, "SELECT DISTINCT config->>'norm' AS norm FROM layers JOIN runs USING (run) ORDER BY norm")
    assert answer["norm"].tolist() == ["bn", "sn"]


def test_a_query_that_makes_no_sense_is_refused_with_the_tables_there_are(store):
    with pytest.raises(ValueError, match=r"weights does not exist(.|\n)*\(tables: layers, runs\)"):
        query(store, "SELECT * FROM weights")


def test_a_query_reaches_no_file_outside_the_store(store, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(ValueError, match="Permission Error"):
        query(store, f"SELECT * FROM read_csv('{secret}')")
    with pytest.raises(ValueError, match="expected one SELECT, got COPY"):
        query(store, f"COPY layers TO '{tmp_path / 'out.csv'}'")


def test_a_store_without_rows_is_said_to_have_none(tmp_path):
    with pytest.raises(ValueError, match="is empty: no run has recorded anything yet"):
        query(tmp_path / "nowhere", "SELECT 1")


def test_a_damaged_part_is_named_and_the_others_are_read(store):
    [part] = store.glob("layers/run=bn-s0/*.parquet")
    others = query(store, "SELECT count(*) AS n FROM layers WHERE run <> 'bn-s0'")["n"].tolist()
    part.write_bytes(b"garbage" * 10)
    with pytest.warns(UserWarning, match=rf"run=bn-s0/{part.name}. is left out: it is not a readable Parquet file"):
        assert query(store, "SELECT count(*) AS n FROM layers")["n"].tolist() == others


def test_without_duckdb_one_line_says_what_to_install(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ValueError, match=r"^a query needs DuckDB: pip install 'meandrift\[query\]'$"):
        query(store, "SELECT 1")


def test_the_answer_equals_the_one_of_pandas(store):
    table = pd.read_parquet(store / "layers" / "run=sn-s0")
    answer = query(store, "SELECT step, weight_mean, spectral_norm FROM layers WHERE run = 'sn-s0' ORDER BY step")
    pd.testing.assert_frame_equal(answer, table[["step", "weight_mean", "spectral_norm"]])
