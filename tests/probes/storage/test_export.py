import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.schema import bin_edges
from probes.storage.export import export
from probes.storage.files import open_store
from probes.storage.recorder import Recorder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs, the second with a column that the first lacks."""
    for run, extra in (("a", {}), ("b", {"spectral_norm": 2.0})):
        with Recorder(tmp_path / "runs", run) as recorder:
            for step in range(3):
                key = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
                recorder.write("layers", pa.RecordBatch.from_pylist([{**key, "weight_mean": step / 2, **extra}]))
                counts = {"tensor": "weight", "mantissa_bits": 0, "first_bin": 120, "counts": [1, 0, step + 1], "n": 9}
                recorder.write("histograms", pa.RecordBatch.from_pylist([{**key, **counts}]))
                recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": 0.5}]))
                recorder.flush()
    return tmp_path / "runs"


def test_one_parquet_file_holds_all_runs_with_the_union_of_their_columns(store, tmp_path):
    assert export(open_store(store), tmp_path / "all.parquet", table="layers", kind="parquet") == 6
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert table["run"].tolist() == ["a"] * 3 + ["b"] * 3
    assert table["weight_mean"].tolist() == [0, 0.5, 1] * 2
    assert table["spectral_norm"].isna().tolist() == [True] * 3 + [False] * 3
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]


def test_csv_holds_words_as_text_and_lists_as_numbers_between_spaces(store, tmp_path):
    assert export(open_store(store), tmp_path / "a.csv", table="histograms", kind="csv", runs=["a"]) == 3
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["counts"].tolist() == ["1 0 1", "1 0 2", "1 0 3"]
    assert table["layer"].tolist() == ["conv"] * 3


def test_the_runs_table_can_be_exported_too(store, tmp_path):
    assert export(open_store(store), tmp_path / "runs.csv", table="runs", kind="csv") == 2
    assert pd.read_csv(tmp_path / "runs.csv")["status"].tolist() == ["finished", "finished"]


def test_tensorboard_reads_back_the_scalars_and_histograms(store, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = open_store(store)
    for table in ("layers", "steps", "histograms"):
        export(files, tmp_path / table, table=table, kind="tensorboard", runs=["b"])
    layers = EventAccumulator(str(tmp_path / "layers" / "b")).Reload()
    assert [(event.step, event.value) for event in layers.Scalars("conv/weight_mean")] == [(0, 0), (1, 0.5), (2, 1)]
    steps = EventAccumulator(str(tmp_path / "steps" / "b")).Reload()
    assert [event.value for event in steps.Scalars("train/loss")] == [0.5] * 3
    histogram = EventAccumulator(str(tmp_path / "histograms" / "b")).Reload().Histograms("conv/weight")[-1]
    edges = bin_edges(120, 3, mantissa_bits=0)
    assert histogram.histogram_value.num == 4
    assert math.isclose(histogram.histogram_value.max, edges[-1])


def test_tensorboard_that_is_not_installed_is_said_in_one_line(store, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"^export to TensorBoard needs its package: pip install tensorboard$"):
        export(open_store(store), tmp_path / "logs", table="layers", kind="tensorboard")


def test_tables_that_tensorboard_has_no_picture_for_are_refused(store, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    with pytest.raises(ValueError, match="table 'runs' holds nothing TensorBoard draws"):
        export(open_store(store), tmp_path / "logs", table="runs", kind="tensorboard")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"table": "weights", "kind": "csv"},
            "tables are layers, histograms, spectra, parameters, channels, units, steps, runs",
        ),
        ({"table": "layers", "kind": "xlsx"}, "kinds are parquet, csv, tensorboard"),
        ({"table": "spectra", "kind": "csv"}, "no rows of 'spectra' for a, b"),
        ({"table": "layers", "kind": "csv", "runs": ["a", "z"]}, "no rows of 'layers' for z"),
    ],
)
def test_what_cannot_be_exported_is_said_and_makes_no_file(store, tmp_path, how, message):
    with pytest.raises(ValueError, match=message):
        export(open_store(store), tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_named_with_the_file(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*/deep/dir' to write 'x.csv' to: make it first"):
        export(open_store(store), tmp_path / "deep" / "dir" / "x.csv", table="layers", kind="csv")


def test_an_existing_file_is_not_replaced(store, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"out.csv exists: choose another name, or delete it first"):
        export(open_store(store), tmp_path / "out.csv", table="layers", kind="csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_a_damaged_part_is_left_out_by_name(store, tmp_path, caplog):
    [part] = store.glob("layers/run=b/*.parquet")
    metadata = pq.read_metadata(part)
    start = metadata.row_group(0).column(0).dictionary_page_offset or metadata.row_group(0).column(0).data_page_offset
    content = bytearray(part.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    part.write_bytes(content)
    export(open_store(store), tmp_path / "all.parquet", table="layers", kind="parquet")
    assert set(pq.read_table(tmp_path / "all.parquet")["run"].to_pylist()) == {"a"}
    assert f"left out, from its damage on: {part} is not a readable Parquet file" in caplog.text


def test_an_export_that_fails_on_the_way_leaves_no_file(store, tmp_path, monkeypatch):
    def full(path: Path, rows: object, columns: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("probes.storage.export.write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        export(open_store(store), tmp_path / "all.parquet", table="layers", kind="parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
