from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import analysis
from analysis.reading import tables
from analysis.reading.depth_order import layer_names
from analysis.reading.store import Store
from probes import Probe, Recorder, schema
from probes.metrics import METRICS


def test_layers_equals_plain_pandas(small_store: Path) -> None:
    plain = pd.read_parquet(small_store / "layers")
    ours = analysis.layers(small_store)
    keys = ["run", "step", "layer"]
    plain, ours = (df.astype({"run": str, "layer": str}).sort_values(keys, ignore_index=True) for df in (plain, ours))
    pd.testing.assert_frame_equal(ours[sorted(ours)], plain[sorted(plain)], check_dtype=False)


def test_each_table_comes_whole(small_store: Path) -> None:
    for table in (schema.HISTOGRAMS, schema.SPECTRA, schema.STEPS):
        assert len(getattr(analysis, table)(small_store)) == len(pd.read_parquet(small_store / table)) > 0


def test_runs_layers_and_steps_are_chosen(small_store: Path) -> None:
    rows = analysis.layers(
        small_store, columns=["weight_mean"], runs=["bn-*", "sn-s0"], layers="*.conv", steps=(100, 200)
    )
    assert set(rows["run"]) == {"bn-s0", "sn-s0"}
    assert set(rows["layer"]) == {"block1.conv", "block2.conv", "block3.conv"}
    assert sorted(set(rows["step"])) == [100, 150, 200]
    assert list(rows.columns) == ["run", "step", "epoch", "layer", "layer_index", "layer_type", "weight_mean"]


class Attending(nn.Module):
    """A network with something for every table: weights, a nonlinearity, an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.relu, self.attention = nn.Linear(4, 4), nn.ReLU(), nn.MultiheadAttention(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.layer(x))
        attended: torch.Tensor = self.attention(y, y, y, need_weights=False)[0]
        return attended


@pytest.fixture(scope="module")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded store that has rows in every table."""
    torch.manual_seed(0)
    store, model = tmp_path_factory.mktemp("full") / "runs", Attending()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    every = {**dict.fromkeys(METRICS, 1), "channels": 1, "transformers": 1}
    with Probe(model, optimizer, store=store, run="a", every=every, probe_batch=torch.randn(3, 2, 4)) as probe:
        for _ in range(2):
            model(torch.randn(3, 2, 4)).square().mean().backward()
            optimizer.step()
            probe.log(loss=1.0)
    return store


@pytest.mark.parametrize("table", [name for name in schema.TABLES if name != schema.RUNS])
def test_columns_and_rows_of_each_table_are_chosen_alike(table: str, full_store: Path) -> None:
    read = getattr(analysis, table)
    column = next(iter(analysis.fields(full_store, table)))
    whole, part = read(full_store), read(full_store, columns=[column], measured=[column], steps=(0, 0))
    keys = [key for key in ("run", *(key.name for key in schema.KEYS[table])) if key in whole]
    assert list(part.columns) == [*keys, column]
    expected = whole[(whole["step"] == 0) & whole[column].notna()][part.columns]
    assert len(part) == len(expected) > 0
    pd.testing.assert_frame_equal(part, expected.reset_index(drop=True), check_categorical=False)
    with pytest.raises(ValueError, match=f"table '{table}' has no column nothing"):
        read(full_store, columns=["nothing"])


def test_an_open_range_of_steps_has_one_end(small_store: Path) -> None:
    last = analysis.steps(small_store)["step"].max()
    assert analysis.steps(small_store, steps=(1000, None))["step"].agg(["min", "max"]).tolist() == [1000, last]
    assert analysis.steps(small_store, steps=(None, 100))["step"].max() == 100


def test_layer_categories_are_in_depth_order_so_that_a_pivot_is_too(deep_store: Path) -> None:
    rows = analysis.layers(deep_store, columns=["weight_mean"], runs="sn-s0")
    wide = rows.pivot(index="step", columns="layer", values="weight_mean")
    assert list(wide.columns[[0, 1, 2, -1]]) == ["stem", "block1.0.conv1", "block1.0.conv2", "classifier"]


def test_a_store_that_another_tool_has_written_anew_reads_alike(small_store: Path, tmp_path: Path) -> None:
    """Polars and DuckDB write text as plain text, some as ``large_string``."""
    for kind, store in ((pa.string(), tmp_path / "a"), (pa.large_string(), tmp_path / "b")):
        for part in small_store.glob("*/run=*/*.parquet"):
            rows = pq.ParquetFile(part).read()
            plain = [f.with_type(kind) if pa.types.is_dictionary(f.type) else f for f in rows.schema]
            place = store / part.relative_to(small_store)
            place.parent.mkdir(parents=True)
            pq.write_table(rows.cast(pa.schema(plain)), place, store_schema=kind != pa.string())
        for table in (schema.LAYERS, schema.HISTOGRAMS, schema.SPECTRA, schema.STEPS):
            pd.testing.assert_frame_equal(getattr(analysis, table)(store), getattr(analysis, table)(small_store))


def test_only_asked_columns_are_decoded(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = ds.Dataset.to_table

    def watched(self: ds.Dataset, columns: list[str] | None = None, **more: object) -> pa.Table:
        asked.append(columns)
        return plain(self, columns=columns, **more)

    # pyarrow's classes are immutable: stand between analysis and the dataset instead.
    class Watched:
        def __init__(self, dataset: ds.Dataset) -> None:
            self.dataset, self.schema = dataset, dataset.schema

        def to_table(self, **how: object) -> pa.Table:
            return watched(self.dataset, **how)

    opened = Store.dataset
    monkeypatch.setattr(Store, "dataset", lambda *args: Watched(opened(*args)))
    analysis.layers(small_store, columns=["grad_var"])
    assert asked == [["run", "step", "epoch", "layer", "layer_index", "layer_type", "grad_var"]]


def test_parts_of_other_runs_are_not_opened(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn", "sn"], records=3)
    (store / "layers" / "run=sn-s0" / "part-0.parquet").write_bytes(b"no Parquet at all")
    assert set(analysis.layers(store, runs="bn-s0")["run"]) == {"bn-s0"}
    with pytest.warns(UserWarning, match=r"run=sn-s0/part-0.parquet' is left out: it is not a readable Parquet file"):
        assert set(analysis.layers(store)["run"]) == {"bn-s0"}


def test_files_being_written_are_left_out(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=3)
    folder = store / "layers" / "run=bn-s0"
    whole = analysis.layers(store)
    for name in ("_part-9.parquet", ".part-9.parquet", "_log.arrows"):
        (folder / name).write_bytes(b"half")
    pd.testing.assert_frame_equal(analysis.layers(store), whole)


def test_measured_tells_null_from_nan(tmp_path: Path) -> None:
    folder = tmp_path / "layers" / "run=a"
    folder.mkdir(parents=True)
    column = pa.array([1.0, None, np.nan, 4.0], pa.float32())
    steps = pa.array([0, 1, 2, 3], pa.int64())
    layer = pa.array(["x"] * 4).dictionary_encode()
    index, kind = pa.array([0] * 4, pa.int16()), pa.array(["Linear"] * 4).dictionary_encode()
    names = ["step", "layer", "layer_index", "layer_type", "weight_mean"]
    pq.write_table(pa.table([steps, layer, index, kind, column], names=names), folder / "part-0.parquet")
    rows = analysis.layers(tmp_path, measured=["weight_mean"])
    assert rows["step"].tolist() == [0, 2, 3]
    assert np.isnan(rows["weight_mean"].iloc[1])


def test_a_column_that_began_later_is_null_before(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=3, without_columns=["grad_var"])
    more = make_store("more", norms=["bn"], records=3)
    part = more / "layers" / "run=bn-s0" / "part-0.parquet"
    (store / "layers" / "run=bn-s0" / "part-1.parquet").write_bytes(part.read_bytes())
    rows = analysis.layers(store, columns=["grad_var"])
    assert rows["grad_var"].isna().sum() == len(rows) / 2


def test_fields_carry_unit_formula_and_reference(small_store: Path) -> None:
    described = analysis.fields(small_store, "layers")
    assert described["weight_mean"].formula == "sum(x) / n"
    assert described["weight_nonfinite"].unit == "elements"
    assert "layer" not in described
    assert "run" not in described


def test_layer_names_are_in_depth_order(small_store: Path) -> None:
    assert layer_names(small_store, runs="sn-s0") == ["block1.conv", "block2.conv", "block3.conv", "classifier"]


def test_a_missing_column_raises_and_lists_those_there_are(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"'layers' has no column weight_kurtosis; it has: weight_mean, weight_var"):
        analysis.layers(small_store, columns=["weight_mean", "weight_kurtosis"])


def test_a_missing_run_raises_and_lists_those_there_are(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"no run matches 'wn-\*'; there are: bn-s0, msn-s0, sn-s0"):
        analysis.layers(small_store, runs="wn-*")


def test_a_missing_layer_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match=r"no layer matches 'conv9'; there are: block1.conv"):
        analysis.layers(small_store, layers="conv9")


def test_a_store_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"store .*nowhere' does not exist"):
        analysis.layers(tmp_path / "nowhere")


def test_a_store_that_is_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"is a file; expected the folder that holds layers"):
        analysis.layers(tmp_path / "file")


def test_an_empty_store_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is empty: no run has recorded anything yet"):
        analysis.layers(tmp_path)


def test_a_missing_table_raises_and_lists_those_there_are(make_store: Callable[..., Path]) -> None:
    store = make_store(without_tables=["spectra"], records=2)
    with pytest.raises(ValueError, match="no table 'spectra'; it has layers, histograms, channels, units, steps, runs"):
        analysis.spectra(store)


def test_an_unknown_table_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no table 'weights'; a store has layers, histograms"):
        tables.load(small_store, "weights")


def test_parts_exchanged_while_reading_are_looked_for_again(
    make_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(norms=["bn"], records=3)
    whole = analysis.layers(store)
    part = store / "layers" / "run=bn-s0" / "part-0.parquet"
    opened, calls = Store.dataset, []

    def exchange(*args: object) -> ds.Dataset:
        dataset = opened(*args)
        if not calls:
            part.rename(part.with_name("part-0-all.parquet"))
        calls.append(1)
        return dataset

    monkeypatch.setattr(Store, "dataset", exchange)
    pd.testing.assert_frame_equal(analysis.layers(store), whole)
    assert len(calls) == 2


def test_a_part_that_stays_away_raises(make_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(norms=["bn"], records=3)
    dataset = Store(store).dataset("layers")
    (store / "layers" / "run=bn-s0" / "part-0.parquet").unlink()
    monkeypatch.setattr(Store, "dataset", lambda *_: dataset)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(FileNotFoundError):
        analysis.layers(store)


def test_rows_of_steps_are_in_the_order_of_runs_steps_and_splits(tmp_path: Path) -> None:
    written = {"b": [(0, "train"), (1, "train"), (3, "train"), (1, "val"), (1, "test"), (2, "train")], "a": [(9, "x")]}
    for run, rows in written.items():
        with Recorder(tmp_path, run) as recorder:
            step, split = zip(*rows, strict=True)
            loss = [number + len(name) / 10 for number, name in rows]
            recorder.write("steps", pa.table({"step": step, "split": split, "loss": loss}).to_batches()[0])
    read = analysis.steps(tmp_path)
    expected = [(9, "x"), (0, "train"), (1, "test"), (1, "train"), (1, "val"), (2, "train"), (3, "train")]
    assert list(zip(read["step"], read["split"], strict=True)) == expected
    assert read["run"].tolist() == ["a"] + ["b"] * 6
    assert read.index.tolist() == list(range(7))
    assert read["loss"].tolist() == [step + len(split) / 10 for step, split in expected]
    marked = tables.load(tmp_path, schema.STEPS, columns=["loss"], mark=True)
    pd.testing.assert_frame_equal(marked[["run", "step", "split", "loss"]], read[["run", "step", "split", "loss"]])


def test_marks_stand_in_the_rows_that_they_are_of(tmp_path: Path) -> None:
    with Recorder(tmp_path, "a") as recorder:
        rows = pa.table({"step": [2, 0, 1], "split": ["train"] * 3, "loss": [None, float("nan"), 1.0]})
        recorder.write("steps", rows.to_batches()[0])
    marked = tables.load(tmp_path, schema.STEPS, columns=["loss"], mark=True)
    assert marked["step"].tolist() == [0, 1, 2]
    assert marked[tables.mark_of("loss")].tolist() == [True, True, False]
