import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from probes import schema
from probes.storage import recorder as store
from probes.storage import recovery
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.verify import verify

linux = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"step": step, "split": "train", "loss": step / 3} for step in range(first, last)]
    )


def weights(step: int, **columns: float) -> pa.RecordBatch:
    row = {"step": step, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
    return pa.RecordBatch.from_pylist([{**row, **columns}])


def steps_of(folder: Path, run: str) -> list[int]:
    return pd.read_parquet(folder / "steps", filters=[("run", "==", run)])["step"].tolist()


def run_row(folder: Path, run: str) -> pd.Series:
    return pd.read_parquet(folder / "runs", filters=[("run", "==", run)]).iloc[0]


def die(recorder: Recorder) -> None:
    """Give the lock back and nothing else: what the kernel does when a process dies."""
    recorder._owner.forget()


def test_rows_written_are_the_rows_read_back(tmp_path):
    with Recorder(tmp_path, "bn-s0") as recorder:
        recorder.write("steps", losses(0, 5))
        recorder.write("steps", losses(5, 7))
    table = pd.read_parquet(tmp_path / "steps")
    assert table["loss"].tolist() == [step / 3 for step in range(7)]
    assert table["run"].tolist() == ["bn-s0"] * 7


def test_keys_come_back_as_categories_and_floats_as_float32(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        batch = pa.RecordBatch.from_arrays(
            [[3], pa.array(["conv"]).dictionary_encode(), [0], ["Conv2d"], pa.array([0.1], pa.float32())],
            ["step", "layer", "layer_index", "layer_type", "weight_mean"],
        )
        recorder.write("layers", batch)
    table = pd.read_parquet(tmp_path / "layers")
    assert isinstance(table["layer"].dtype, pd.CategoricalDtype)
    assert table["weight_mean"].dtype == np.float32
    assert table["layer_index"].dtype == np.int16


def test_flushed_rows_are_visible_while_the_run_is_live(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 5))
        recorder.flush()
        assert steps_of(tmp_path, "a") == [0, 1, 2, 3, 4]
        assert run_row(tmp_path, "a")["status"] == "running"
        assert run_row(tmp_path, "a")["last_step"] == 4


def test_rows_become_visible_by_themselves_when_a_flush_is_due(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(store, "FLUSH_SHARE", 0.0)
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 2))
        assert steps_of(tmp_path, "a") == [0, 1]


def test_a_long_log_is_flushed_before_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_BYTES", 2000)
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 200))
        assert len(steps_of(tmp_path, "a")) == 200


def test_close_leaves_one_part_a_table_and_no_workspace(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        for step in range(5):
            recorder.write("steps", losses(step, step + 1))
            recorder.write("layers", weights(step, weight_mean=1.0))
            recorder.flush()
    assert len(list(tmp_path.glob("steps/run=a/*"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers", "runs", "steps"]


def test_columns_may_come_and_go(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("layers", weights(0, weight_mean=1.0))
        recorder.write("layers", weights(1, weight_mean=2.0, spectral_norm=3.0))
        recorder.write("layers", weights(2, spectral_norm=4.0))
        recorder.write("layers", weights(3, weight_mean=5.0))
    table = pd.read_parquet(tmp_path / "layers").astype({"weight_mean": float, "spectral_norm": float})
    np.testing.assert_array_equal(table["weight_mean"], [1, 2, np.nan, 5])
    np.testing.assert_array_equal(table["spectral_norm"], [np.nan, 3, 4, np.nan])


def test_not_measured_is_null_and_measured_nan_is_nan(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("layers", weights(0, weight_mean=float("nan")))
        recorder.write("layers", weights(1, weight_var=1.0))
    [part] = tmp_path.glob("layers/run=a/*.parquet")
    column = pa.parquet.read_table(part, partitioning=None)["weight_mean"]
    assert column.null_count == 1
    assert np.isnan(column[0].as_py())


def test_numbers_of_the_users_own_are_float64(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        for row in ({"temperature": 3}, {"temperature": 0.5}, {"temperature": True}):
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": 0, "split": "train", **row}]))
    table = pd.read_parquet(tmp_path / "steps")
    assert table["temperature"].tolist() == [3.0, 0.5, 1.0]
    assert table["temperature"].dtype == np.float64


def test_columns_keep_their_unit_and_formula_in_the_file(tmp_path):
    weight_mean = schema.Column("weight_mean", "1", "mean of the entries", tensor="weight").arrow_field()
    given = pa.schema([pa.field("step", pa.int64()), pa.field("layer", pa.string()), weight_mean])
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("layers", pa.RecordBatch.from_pylist([{"step": 0, "layer": "c", "weight_mean": 1}], given))
        recorder.flush()
        recorder.write("layers", weights(1, weight_mean=1.0))
    [part] = tmp_path.glob("layers/run=a/*.parquet")
    stored = pa.parquet.read_schema(part)
    assert stored.field("weight_mean").metadata[b"formula"] == b"mean of the entries"
    assert stored.field("step").metadata[b"unit"] == b"steps"
    assert stored.metadata[schema.VERSION_KEY.encode()] == str(schema.SCHEMA_VERSION).encode()


def step_zero(**columns: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": 0, "split": "train", **columns}])


@pytest.mark.parametrize(
    ("table", "batch", "message"),
    [
        (
            "weights",
            losses(0, 1),
            r"table 'weights': a recorder writes layers, histograms, spectra, parameters, channels, units, steps",
        ),
        ("runs", losses(0, 1), r"table 'runs': .* set by describe"),
        ("layers", losses(0, 1), r"missing keys \['layer'\]"),
        ("steps", step_zero(run="a"), r"leave out 'run'"),
        ("steps", step_zero().append_column("split", pa.array(["test"])), r"repeated \['split'\]"),
        ("steps", step_zero(step="one"), r"column 'step': got string, expected int64"),
        ("steps", step_zero(step=None), r"table 'steps': 1 row without a step; give one"),
        ("steps", step_zero(n=2**60 + 1), r"column 'n': got int64, expected double"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_harms_nothing(tmp_path, table, batch, message):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 2))
        with pytest.raises(ValueError, match=message):
            recorder.write(table, batch)
        recorder.write("steps", losses(2, 3))
    assert steps_of(tmp_path, "a") == [0, 1, 2]


def test_rows_of_a_dead_writer_come_back_when_the_run_is_resumed(tmp_path, caplog):
    recorder = Recorder(tmp_path, "a")
    recorder.write("steps", losses(0, 3))
    die(recorder)
    with Recorder(tmp_path, "a", resume_step=3) as resumed:
        resumed.write("steps", losses(3, 4))
    assert steps_of(tmp_path, "a") == [0, 1, 2, 3]
    assert "recovered run 'a': 3 rows of steps" in caplog.text


def test_rows_of_a_dead_writer_come_back_when_any_other_run_begins(tmp_path, caplog):
    recorder = Recorder(tmp_path, "dead")
    recorder.write("steps", losses(0, 3))
    die(recorder)
    with Recorder(tmp_path, "other"):
        assert steps_of(tmp_path, "dead") == [0, 1, 2]
        assert run_row(tmp_path, "dead")["status"] == "interrupted"
        assert run_row(tmp_path, "dead")["last_step"] == 2
    assert "recovered run 'dead': 3 rows of steps" in caplog.text


def test_a_live_writers_files_are_left_alone(tmp_path):
    with Recorder(tmp_path, "live") as live:
        live.write("steps", losses(0, 3))
        before = sorted(tmp_path.rglob("*"))
        Recorder(tmp_path, "other").close()
        assert recovery.recover_dead(open_store(tmp_path)) == []
        assert [path for path in before if not path.exists()] == []
        live.write("steps", losses(3, 4))
    assert steps_of(tmp_path, "live") == [0, 1, 2, 3]


def test_resume_deletes_the_steps_taken_again(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        for first in (0, 10, 20):
            recorder.write("steps", losses(first, first + 10))
            recorder.flush()
    with Recorder(tmp_path, "a", resume_step=13) as resumed:
        assert steps_of(tmp_path, "a") == list(range(13))
        assert run_row(tmp_path, "a")["last_step"] == 12
        resumed.write("steps", losses(13, 15))
    assert steps_of(tmp_path, "a") == list(range(15))


def test_resume_from_the_start_keeps_the_run_and_none_of_its_rows(tmp_path):
    with Recorder(tmp_path, "a", config={"norm": "bn"}) as recorder:
        recorder.write("steps", losses(0, 3))
    Recorder(tmp_path, "a", resume_step=0).close()
    assert not list(tmp_path.glob("steps/run=a/*.parquet"))
    assert run_row(tmp_path, "a")["config"] == '{"norm": "bn"}'


def test_overwrite_deletes_the_run_first(tmp_path):
    for first in (0, 100):
        with Recorder(tmp_path, "a", overwrite=True) as recorder:
            recorder.write("steps", losses(first, first + 2))
    assert steps_of(tmp_path, "a") == [100, 101]


def test_an_existing_run_is_refused_with_the_three_ways_out(tmp_path):
    Recorder(tmp_path, "a").close()
    with pytest.raises(ValueError, match=r"run 'a' exists .* another run id.*resume_step.*overwrite=True"):
        Recorder(tmp_path, "a")


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path):
    with pytest.raises(ValueError, match=r"run 'a' is not in store .*: leave out resume_step"):
        Recorder(tmp_path, "a", resume_step=3)
    assert list(tmp_path.iterdir()) == []


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="overwrite deletes the run that resume_step goes on with"):
        Recorder(tmp_path, "a", resume_step=3, overwrite=True)


def test_a_run_of_a_newer_schema_is_not_written_to(tmp_path, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(schema, "SCHEMA_VERSION", 99)
        Recorder(tmp_path, "a").close()
    with pytest.raises(ValueError, match=r"schema version 99, and this meandrift writes version 2: update"):
        Recorder(tmp_path, "a", resume_step=0)


def test_two_writers_cannot_take_the_same_run(tmp_path):
    with Recorder(tmp_path, "a"):
        for ways in ({}, {"resume_step": 0}, {"overwrite": True}):
            with pytest.raises(ValueError, match=f"run 'a' is being written by process {os.getpid()}"):
                Recorder(tmp_path, "a", **ways)


def test_describe_changes_the_runs_row(tmp_path):
    with Recorder(tmp_path, "a", config={"seed": 3, "lr": 0.1}, device="cpu") as recorder:
        recorder.describe(gaps=["steps 3 to 5: disk full"])
        row = run_row(tmp_path, "a")
    assert row["config"] == '{"seed": 3, "lr": 0.1}'
    assert row["device"] == "cpu"
    assert row["gaps"] == '["steps 3 to 5: disk full"]'
    assert row["schema_version"] == schema.SCHEMA_VERSION


def test_describe_refuses_what_the_row_has_not(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        with pytest.raises(ValueError, match=r"run row has no field colour; it has status, started"):
            recorder.describe(colour="red")
        with pytest.raises(ValueError, match=r"run row: a value has the wrong type"):
            recorder.describe(last_step="many")


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted"), (None, "finished")]
)
def test_leaving_the_block_says_how_the_run_ended(tmp_path, error, status):
    def train() -> None:
        with Recorder(tmp_path, "a") as recorder:
            recorder.write("steps", losses(0, 1))
            if error is not None:
                raise error

    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    assert run_row(tmp_path, "a")["status"] == status
    assert steps_of(tmp_path, "a") == [0]


def test_closing_twice_is_closing_once_and_a_closed_recorder_refuses_rows(tmp_path):
    recorder = Recorder(tmp_path, "a")
    recorder.close("failed")
    recorder.close()
    assert run_row(tmp_path, "a")["status"] == "failed"
    for call in (lambda: recorder.write("steps", losses(0, 1)), recorder.flush, lambda: recorder.describe(device="")):
        with pytest.raises(OSError, match="recorder of run 'a' is closed"):
            call()


@linux
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forking beside threads
def test_a_forked_child_neither_writes_nor_keeps_the_run_alive(tmp_path):
    recorder = Recorder(tmp_path, "a")
    recorder.write("steps", losses(0, 2))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # a DataLoader worker that outlives its parent
        try:
            recorder.write("steps", losses(2, 3))
        except OSError as error:
            os.write(writing, str(error).encode())
        time.sleep(60)
        os._exit(0)
    try:
        assert (
            os.read(reading, 1000).decode()
            == "recorder of run 'a' is closed, or was made in another process: make a new one"
        )
        die(recorder)
        Recorder(tmp_path, "a", resume_step=2).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert steps_of(tmp_path, "a") == [0, 1]


def test_several_threads_may_write_and_flush_at_once(tmp_path):
    def write(table: str) -> None:
        for step in range(200):
            recorder.write(table, losses(step, step + 1) if table == "steps" else weights(step, weight_mean=step))

    with Recorder(tmp_path, "a") as recorder:
        threads = [threading.Thread(target=write, args=[table]) for table in ("steps", "layers")]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            recorder.flush()
    assert steps_of(tmp_path, "a") == list(range(200))
    assert pd.read_parquet(tmp_path / "layers")["weight_mean"].tolist() == list(range(200))


def test_fsync_changes_nothing_a_reader_sees(tmp_path):
    with Recorder(tmp_path, "a", fsync=True) as recorder:
        for first in (0, 5):
            recorder.write("steps", losses(first, first + 5))
            recorder.flush()
    assert steps_of(tmp_path, "a") == list(range(10))
    assert verify(open_store(tmp_path)).faults == []


def test_a_run_id_with_a_path_in_it_is_refused_before_anything_is_made(tmp_path):
    for run in ("../x", "a/b", "a%2Fb", "", ".", "x" * 300, "nan"):
        with pytest.raises(ValueError, match="run id"):
            Recorder(tmp_path / "store", run)
    assert list(tmp_path.iterdir()) == []
