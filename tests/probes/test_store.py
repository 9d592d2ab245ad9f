import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from probes.store import Recorder


def losses(first: int, last: int, *, run_of: float = 0.0) -> pa.RecordBatch:
    rows = [{"step": step, "split": "train", "loss": step / 3 + run_of} for step in range(first, last)]
    return pa.RecordBatch.from_pylist(rows)


def steps_of(store: Path, run: str) -> list[int]:
    table = pd.read_parquet(store / "steps", filters=[("run", "==", run)])
    return table["step"].tolist()


def test_rows_written_are_the_rows_read_back(tmp_path):
    with Recorder(tmp_path, "bn-s0") as recorder:
        recorder.write("steps", losses(0, 5))
        recorder.write("steps", losses(5, 7))
    table = pd.read_parquet(tmp_path / "steps")
    assert table["loss"].tolist() == [step / 3 for step in range(7)]
    assert table["run"].tolist() == ["bn-s0"] * 7


def test_flushed_rows_are_visible_while_the_run_is_live(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 5))
        recorder.flush()
        assert steps_of(tmp_path, "a") == [0, 1, 2, 3, 4]


def test_rows_of_a_dead_writer_come_back_on_the_next_open(tmp_path, caplog):
    recorder = Recorder(tmp_path, "a")
    recorder.write("steps", losses(0, 3))
    recorder._owner.forget()  # what the kernel does when the process dies
    with Recorder(tmp_path, "a", resume_step=3) as resumed:
        resumed.write("steps", losses(3, 4))
    assert steps_of(tmp_path, "a") == [0, 1, 2, 3]
    assert "recovered run 'a': 3 rows of steps" in caplog.text


def test_resume_deletes_the_steps_taken_again(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        for first in (0, 10, 20):
            recorder.write("steps", losses(first, first + 10))
            recorder.flush()
    with Recorder(tmp_path, "a", resume_step=13) as resumed:
        resumed.write("steps", losses(13, 15))
    assert steps_of(tmp_path, "a") == list(range(15))


def test_an_existing_run_is_refused_with_the_three_ways_out(tmp_path):
    Recorder(tmp_path, "a").close()
    with pytest.raises(ValueError, match=r"run 'a' exists .* another run id.*resume_step.*overwrite=True"):
        Recorder(tmp_path, "a")


def test_two_writers_cannot_take_the_same_run(tmp_path):
    with Recorder(tmp_path, "a"):
        for ways in ({}, {"resume_step": 0}, {"overwrite": True}):
            with pytest.raises(ValueError, match=f"run 'a' is being written by process {os.getpid()}"):
                Recorder(tmp_path, "a", **ways)
