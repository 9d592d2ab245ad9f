"""A query is one SELECT: whatever else it is, it is refused, and the store stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.query import query
from probes.storage.recorder import Recorder

duckdb = pytest.importorskip("duckdb", reason="pip install 'meandrift[query]'")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sql") / "runs"
    with Recorder(folder, "a") as recorder:
        rows = [{"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "x": 1.0} for step in (0, 1)]
        recorder.write("layers", pa.RecordBatch.from_pylist(rows))
    return folder


@pytest.fixture
def unchanged(store: Path, tree_of: Callable[[Path], dict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The store and the folder that the process is in are as they were, after the test."""
    monkeypatch.chdir(tmp_path)
    before = tree_of(store)
    yield
    assert tree_of(store) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "COPY layers TO '{part}'",
        "COPY layers TO '{part}' (FORMAT parquet, USE_TMP_FILE false)",
        "COPY (SELECT 1) TO 'out.csv'",
        "COPY layers FROM 'in.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)",
        "explain /* COPY */ analyze -- SELECT\n COPY (SELECT 1) TO 'out.csv'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO 'out.csv'",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
        "ATTACH 'other.db'",
        "ATTACH 'other.db' AS other (READ_ONLY)",
        "DETACH memory",
        "USE logged",
        "EXPORT DATABASE 'out'",
        "IMPORT DATABASE 'out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "PRAGMA enable_profiling = 'json'",
        "PRAGMA database_size",
        "CALL enable_logging()",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE MACRO layers() AS 1",
        "DROP VIEW layers",
        "INSERT INTO layers VALUES (1)",
        "UPDATE layers SET x = 0",
        "DELETE FROM layers",
        "PREPARE p AS SELECT 1",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY layers TO '{part}'",
        "SELECT 1;; SELECT 2;",
        "",
        " ; -- nothing",
        "PIVOT layers ON layer USING sum(x)",
    ],
)
def test_what_is_no_single_select_is_refused(sql: str, store: Path) -> None:
    [part] = store.glob("layers/run=a/*.parquet")
    with pytest.raises(ValueError, match=r"^expected one SELECT"):
        query(store, sql.format(part=part))


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "WITH x AS (COPY (SELECT 1 AS a) TO '{part}' (USE_TMP_FILE false)) SELECT 1",
        "SELECT (WITH x AS (COPY (SELECT 1 AS a) TO '{part}' (USE_TMP_FILE false)) SELECT 1)",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1 AS a) TO '{part}' (USE_TMP_FILE false)) SELECT 1",
        "WITH x AS (INSERT INTO logged.layers SELECT 1 RETURNING *) FROM x",
    ],
)
def test_a_select_with_a_part_that_writes_is_refused(sql: str, store: Path) -> None:
    [part] = store.glob("layers/run=a/*.parquet")
    with pytest.raises(ValueError, match=r"^expected one SELECT"):
        query(store, sql.format(part=part))


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM layers",
        "select * from layers where step >= 0;",
        "-- a comment; with a semicolon\nSELECT step FROM layers /* ; */ ; -- and one more;",
        "WITH first AS (SELECT * FROM layers WHERE step = 0) FROM first UNION ALL FROM layers WHERE step = 1",
        "WITH RECURSIVE n AS (SELECT 0 AS step UNION ALL SELECT step + 1 FROM n WHERE step < 1) FROM n",
        "FROM layers SELECT step",
        "FROM layers",
        "TABLE layers",
        "VALUES (1), (2)",
        "SELECT 'COPY layers TO x; DROP TABLE layers' AS text FROM layers",
        "PIVOT layers ON step IN (0, 1) USING sum(x) GROUP BY layer UNION ALL SELECT 'a', 1, 1",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM layers UNION ALL SELECT * FROM layers",
    ],
)
def test_what_only_reads_is_answered(sql: str, store: Path) -> None:
    assert len(query(store, sql)) == (1 if sql.startswith("EXPLAIN") else 2)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql", ["DESCRIBE layers", "SUMMARIZE layers", "SHOW layers", "EXPLAIN ANALYZE FROM layers", "SHOW ALL TABLES"]
)
def test_descriptions_are_answered(sql: str, store: Path) -> None:
    assert not query(store, sql).empty


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_text('{store}/secret.txt')",
        "SELECT * FROM read_blob('{store}/_writers/a/owner.json')",
        "SELECT * FROM '{store}/secret.csv'",
        "SELECT * FROM glob('{store}/**')",
        "SELECT * FROM read_parquet('{store}/**/*.parquet')",
        "SELECT * FROM query('COPY layers TO ''out.csv''')",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = 'log')",
        "SELECT * FROM enable_profiling(save_location = 'profile.json')",
        "SELECT * FROM read_csv('https://example.com/a.csv')",
    ],
)
def test_a_select_reaches_nothing_but_the_tables_it_names(sql: str, store: Path) -> None:
    with pytest.raises(
        (ValueError, OSError), match=r"Permission|locked|Expected a single SELECT|does not exist|disabled"
    ):
        query(store, sql.format(store=store))


@pytest.mark.usefixtures("unchanged")
def test_a_variable_of_python_is_no_table(store: Path) -> None:
    for name in ("statement", "tables", "os", "store"):
        with pytest.raises(ValueError, match=f"{name} does not exist"):
            query(store, f"SELECT * FROM {name}")


@pytest.mark.parametrize(("name", "like_it"), [("r*s", "runs"), ("t[1]", "t1"), ("a?b", "acb")])
def test_a_store_with_a_pattern_for_a_name_is_read_and_no_other(name: str, like_it: str, tmp_path: Path) -> None:
    for folder in (name, like_it):
        with Recorder(tmp_path / folder, "a") as recorder:
            row = {"step": 0, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "store": folder}
            recorder.write("layers", pa.RecordBatch.from_pylist([row]))
    assert query(tmp_path / name, "SELECT store FROM layers")["store"].tolist() == [name]


def test_a_url_store_is_no_way_to_other_files_either() -> None:
    pytest.importorskip("fsspec", reason="memory:// is an fsspec file system")
    with Recorder(url := f"memory://sql-{os.getpid()}", "a") as recorder:
        row = {"step": 0, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "x": 1.0}
        recorder.write("layers", pa.RecordBatch.from_pylist([row]))
    assert query(url, "SELECT x FROM layers")["x"].tolist() == [1.0]
    with pytest.raises(ValueError, match="Permission Error"):
        query(url, "SELECT * FROM read_text('/etc/passwd')")
    with pytest.raises(ValueError, match="expected one SELECT, got COPY"):
        query(url, "COPY layers TO 'out.csv'")
