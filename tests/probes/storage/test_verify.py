import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.storage.files import open_store
from probes.storage.parts import write_parquet
from probes.storage.recorder import Recorder
from probes.storage.verify import Verified, verify


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A sound store of two runs, three parts a table each."""
    for run in ("a", "b"):
        with Recorder(tmp_path, run, config={"seed": 0}) as recorder:
            for step in range(3):
                recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": 1.0}]))
                row = {"layer_index": 0, "layer_type": "Conv2d", "weight_mean": float(step)}
                layers = [{"step": step, "layer": layer, **row} for layer in ("conv1", "conv2")]
                recorder.write("layers", pa.RecordBatch.from_pylist(layers))
                recorder.flush()
            recorder._compact = lambda: None
    return tmp_path


def parts(store: Path, table: str, run: str = "a") -> list[Path]:
    return sorted(store.glob(f"{table}/run={run}/*.parquet"))


def faults(store: Path, **arguments) -> dict[str, str]:
    return dict(verify(open_store(store), **arguments).faults)


def rewrite(path: Path, change) -> None:
    rows = change(pq.ParquetFile(path).read())
    write_parquet(path, [rows], rows.schema)


def test_a_sound_store_has_no_faults_and_all_its_rows_are_counted(store):
    assert verify(open_store(store)) == Verified(files=2 * (3 + 3 + 1), rows=2 * (3 + 6 + 1))


@pytest.mark.parametrize("size", [0, 3, 200, -1])
def test_a_truncated_part_is_named(store, size):
    bad = parts(store, "layers")[1]
    bad.write_bytes(bad.read_bytes()[:size])
    assert list(faults(store)) == [str(bad)]
    assert "cannot be read" in faults(store)[str(bad)]


def test_a_part_overwritten_with_garbage_is_named(store):
    bad = parts(store, "steps", "b")[2]
    bad.write_bytes(b"garbage" * 100)
    assert "not a readable Parquet file" in faults(store)[str(bad)]


def test_any_flipped_bit_in_the_data_is_found_by_its_checksum(store):
    bad = parts(store, "layers")[0]
    content = bad.read_bytes()
    metadata = pq.ParquetFile(bad).metadata
    column = metadata.row_group(0).column(metadata.schema.names.index("weight_mean"))
    first = column.dictionary_page_offset or column.data_page_offset
    last = first + column.total_compressed_size
    bad.write_bytes(content[: last - 1] + bytes([content[last - 1] ^ 1]) + content[last:])
    assert list(faults(store)) == [str(bad)]


def test_a_key_that_comes_twice_is_named_with_its_file(store):
    first, second, _ = parts(store, "layers")
    second.write_bytes(first.read_bytes())
    problem = faults(store)[str(second)]
    assert "has repeated keys (2): {'step': 0, 'layer': 'conv1'} is one" in problem


def test_steps_that_fall_are_found_within_a_part_and_between_parts(store):
    first, second, _ = parts(store, "steps")
    rewrite(second, lambda rows: pa.concat_tables([rows, pq.ParquetFile(first).read()]))
    first.unlink()
    assert faults(store)[str(second)] == "has steps that fall"
    rewrite(second, lambda rows: rows.slice(0, 1).set_column(0, rows.schema.field("step"), pa.array([5])))
    third = parts(store, "steps")[-1]
    assert faults(store)[str(third)] == f"begins at step 2, before the end of {second}"


def test_an_evaluation_recorded_late_is_no_fault(store):
    with Recorder(store, "a", resume_step=3) as recorder:
        for row in ({"step": 4, "split": "train"}, {"step": 3, "split": "test"}):
            recorder.write("steps", pa.RecordBatch.from_pylist([row]))
    assert faults(store) == {}


def test_a_segment_that_stands_in_two_parts_is_named(store):
    first = parts(store, "steps")[0]
    twice = first.with_name("part-00000001-00000003.parquet")
    twice.write_bytes(first.read_bytes())
    problems = [problem for path, problem in verify(open_store(store)).faults if path == str(twice)]
    assert "holds log segments that part-00000001-00000001.parquet holds too" in problems


def test_a_parquet_file_that_is_no_part_is_named_because_readers_count_it(store):
    copy = store / "layers" / "run=a" / "copy.parquet"
    copy.write_bytes(parts(store, "layers")[0].read_bytes())
    assert faults(store) == {str(copy): "is not a part that meandrift wrote, but readers count its rows"}


def test_columns_of_another_type_or_missing_are_named(store):
    first, second, third = parts(store, "steps")
    rewrite(first, lambda rows: rows.set_column(0, "step", rows["step"].cast(pa.int32())))
    rewrite(second, lambda rows: rows.drop_columns(["split"]))
    rewrite(third, lambda rows: rows.append_column("run", pa.array(["a"])))
    found = faults(store)
    assert found[str(first)] == "column 'step' is int32, expected int64"
    assert found[str(second)] == "lacks the key columns split"
    assert found[str(third)] == "has a column 'run', which only the path may say"


def test_a_part_of_a_newer_schema_is_named(store):
    first = parts(store, "steps")[0]
    rewrite(first, lambda rows: rows.replace_schema_metadata({"meandrift.schema_version": "99"}))
    assert faults(store)[str(first)] == "has schema version 99; this meandrift knows 1 to 2"


def test_rows_without_a_step_are_named(store):
    first = parts(store, "steps")[0]
    rewrite(first, lambda rows: rows.set_column(0, rows.schema.field("step"), pa.nulls(rows.num_rows, pa.int64())))
    assert faults(store)[str(first)] == "has 1 row without a step"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: path.unlink(), "is missing: the run has no row in `runs`"),
        (lambda path: path.write_bytes(b"x"), "cannot be read"),
        (lambda path: rewrite(path, lambda rows: pa.concat_tables([rows, rows])), "has 2 rows, expected one"),
        (lambda path: rewrite(path, lambda rows: json_config(rows, "{oops")), "config is not JSON"),
        (lambda path: rewrite(path, lambda rows: json_config(rows, "[1]")), "config is not a JSON dict"),
    ],
)
def test_what_is_wrong_with_a_runs_row_is_said(store, change, problem):
    path = store / "runs" / "run=a" / "part-0.parquet"
    change(path)
    assert faults(store)[str(path)].startswith(problem)


def json_config(rows: pa.Table, text: str) -> pa.Table:
    assert json.loads(rows["config"][0].as_py()) == {"seed": 0}
    return rows.set_column(rows.column_names.index("config"), "config", pa.array([text]))


def test_a_second_file_in_a_runs_row_is_named(store):
    path = store / "runs" / "run=a" / "part-0.parquet"
    path.with_name("part-1.parquet").write_bytes(path.read_bytes())
    assert faults(store) == {str(path.with_name("part-1.parquet")): "is a second row of the run"}


def test_rows_that_wait_in_a_log_are_noted_and_no_fault(store):
    recorder = Recorder(store, "live")
    recorder.write("steps", pa.RecordBatch.from_pylist([{"step": 0, "split": "train"}]))
    found = verify(open_store(store))
    assert found.faults == []
    assert found.notes == ["run 'live': 1 log segment not in parts yet"]
    recorder.close()


def test_only_the_runs_asked_for_are_checked(store):
    parts(store, "layers", "b")[0].write_bytes(b"garbage")
    assert faults(store, runs=["a"]) == {}
    with pytest.raises(ValueError, match=r"has no run c; it has a, b"):
        verify(open_store(store), ["c"])
