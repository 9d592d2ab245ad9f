"""Old runs keep every tenth record, once, also where the first attempt was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from probes.commands import app
from probes.storage import record_thinning
from probes.storage.files import open_store
from probes.storage.record_thinning import Thinned, thin_run
from probes.storage.recorder import Recorder
from probes.storage.run_row import read_run_row
from probes.storage.verify import verify
from probes.storage.writer_lock import WriterLock


@pytest.fixture
def recorded(store: Path) -> Path:
    """Return a store with a run of 101 records of two layers, histograms at every tenth, losses at every step."""
    with Recorder(store, "a") as recorder:
        for part in range(3):
            for step in range(part * 1000 // 3, (part + 1) * 1000 // 3 + (part == 2)):
                losses = [{"step": step, "split": "train", "loss": 1.0}]
                losses += [{"step": step, "split": "test", "loss": 2.0}] if step % 250 == 249 else []
                recorder.write("steps", pa.RecordBatch.from_pylist(losses))
                if step % 10 == 0:
                    rows = [{"step": step, "layer": name, "weight_mean": 1.0} for name in ("conv", "head")]
                    recorder.write("layers", pa.RecordBatch.from_pylist(rows))
                if step % 100 == 0:
                    counts = [{"step": step, "layer": "conv", "tensor": "weight", "counts": [1, 2]}]
                    recorder.write("histograms", pa.RecordBatch.from_pylist(counts))
            recorder.flush()
        recorder._compact = lambda: None  # several parts
    return store


def thin(store: Path, nth: int) -> Thinned:
    files = open_store(store)
    owner = WriterLock(files.workspace("a"))
    try:
        return thin_run(files, "a", nth)
    finally:
        owner.release()


def steps(store: Path, table: str, split: str = "") -> list[int]:
    rows = pd.read_parquet(store / table)
    return sorted(set(rows["step"] if not split else rows.loc[rows["split"] == split, "step"]))


def test_every_tenth_record_stays_with_all_its_tables(recorded):
    done = thin(recorded, 10)
    assert steps(recorded, "layers") == list(range(0, 1001, 100))
    assert steps(recorded, "histograms") == list(range(0, 1001, 100))
    assert steps(recorded, "steps", "train") == list(range(0, 1001, 10))
    assert steps(recorded, "steps", "test") == [249, 499, 749, 999]
    assert (done.before, done.after) == (2 * 101 + 11 + 1001 + 4, 2 * 11 + 11 + 101 + 4)
    assert verify(open_store(recorded)).faults == []
    assert not (recorded / "_writers").exists()


def test_the_last_record_stays(recorded):
    thin(recorded, 7)
    assert steps(recorded, "layers") == [*range(0, 1001, 70), 1000]


def test_a_gap_says_so_and_the_same_call_does_it_once(recorded):
    thin(recorded, 10)
    [gap] = json.loads(read_run_row(open_store(recorded), "a")["gaps"])
    assert gap == {"what": "records", "why": "one in 10 is kept, thinned afterwards", "kept_every": 10}
    again = thin(recorded, 10)
    assert again.before == again.after
    thin(recorded, 20)  # of all records, not of those that are left
    assert steps(recorded, "layers") == list(range(0, 1001, 200))


def test_a_thinning_that_was_killed_is_finished_by_the_same_call(recorded, monkeypatch):
    whole, done = record_thinning._thin_part, []

    def die_in_the_fourth(*arguments):
        done.append(arguments)
        if len(done) == 4:
            raise KeyboardInterrupt
        return whole(*arguments)

    with monkeypatch.context() as dying:
        dying.setattr(record_thinning, "_thin_part", die_in_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            thin(recorded, 10)
    with Recorder(recorded, "b"):  # another run recovers what it finds, and leaves this alone
        pass
    with Recorder(recorded, "a", resume="auto") as recorder:  # which goes on meanwhile
        row = {"step": 2001, "layer": "conv", "weight_mean": 1.0}
        recorder.write("layers", pa.RecordBatch.from_pylist([row]))
    thin(recorded, 10)
    assert steps(recorded, "layers") == [*range(0, 1001, 100), 2001]
    assert steps(recorded, "steps", "train") == list(range(0, 1001, 10))


def test_steps_written_down_for_an_earlier_run_of_the_name_are_not_taken(recorded):
    files = open_store(recorded)
    owner = WriterLock(files.workspace("a"))
    kept = record_thinning._Kept([0], [0], 10_000, "another time", 10)
    record_thinning._write_down(files, "a", kept)
    owner.release()
    thin(recorded, 10)
    assert steps(recorded, "layers") == list(range(0, 1001, 100))


def test_the_command_thins_and_joins(recorded):
    result = CliRunner().invoke(app, ["compact", "--thin", "10", "--store", str(recorded)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "a: 1,218 rows -> 138"
    assert steps(recorded, "layers") == list(range(0, 1001, 100))


def test_fewer_than_every_second_is_refused(recorded):
    with pytest.raises(ValueError, match="thin 1: expected 2 or more"):
        thin(recorded, 1)
