"""A full disk, a read-only one, no file handles left, a jumping clock: one clear error, and what was written stays."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from probes.storage import recorder as recorder_module
from probes.storage import run_row, run_start
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
from probes.storage.verify import verify


def losses(step: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": step / 3}])


def steps_of(store: Path) -> list[int]:
    return pd.read_parquet(store / "steps")["step"].tolist()


@pytest.fixture
def small_disk(make_disk: Callable[[str], Path]) -> Path:
    """A file system of 1 MB of its own."""
    return make_disk("size=1m")


def fill(disk: Path) -> Path:
    """Leave no free byte on a disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


def write_until_refused(recorder: Recorder, first: int) -> int:
    """Write one step after the other; return the first that was refused."""
    for step in range(first, first + 10_000):
        try:
            recorder.write("steps", losses(step))
        except OSError as error:
            if "No space left on device" not in str(error):
                raise
            return step
    raise AssertionError("the disk never got full")


def test_a_full_disk_refuses_rows_and_loses_none_of_those_it_took(small_disk):
    recorder = Recorder(small_disk / "store", "a")
    recorder.write("steps", losses(0))
    recorder.flush()
    recorder.write("steps", losses(1))
    ballast = fill(small_disk)
    refused = write_until_refused(recorder, 2)
    with pytest.raises(OSError, match="No space left on device"):
        recorder.flush()
    assert steps_of(small_disk / "store") == [0]
    ballast.unlink()
    recorder.write("steps", losses(refused))  # training went on, and so may the record
    recorder.close()
    assert steps_of(small_disk / "store") == list(range(refused + 1))
    assert verify(open_store(small_disk / "store")).faults == []


def test_a_run_that_closes_on_a_full_disk_is_recovered_when_there_is_room(small_disk):
    recorder = Recorder(small_disk / "store", "a")
    recorder.write("steps", losses(0))
    ballast = fill(small_disk)
    refused = write_until_refused(recorder, 1)
    with pytest.raises(OSError, match="No space left on device"):
        recorder.close()
    ballast.unlink()
    [recovered] = recover_dead(open_store(small_disk / "store"))
    assert recovered.rows == {"steps": refused}
    assert steps_of(small_disk / "store") == list(range(refused))
    assert not (small_disk / "store" / "_writers").exists()


def test_a_flush_that_comes_by_itself_on_a_full_disk_warns_and_keeps_the_rows(small_disk, monkeypatch, caplog):
    recorder = Recorder(small_disk / "store", "a")
    recorder.write("steps", losses(0))
    ballast = fill(small_disk)
    with monkeypatch.context() as due:
        due.setattr(recorder_module, "FLUSH_SECONDS", 0.0)
        due.setattr(recorder_module, "FLUSH_SHARE", 0.0)
        recorder.write("steps", losses(1))  # there is room in the log's last page
    assert "run 'a': rows stay in the log, no part could be written: " in caplog.text
    ballast.unlink()
    recorder.close()
    assert steps_of(small_disk / "store") == [0, 1]


def test_a_read_only_disk_refuses_the_recorder_and_can_still_be_read(small_disk):
    with Recorder(small_disk / "store", "a") as recorder:
        recorder.write("steps", losses(0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        Recorder(small_disk / "store", "b")
    assert steps_of(small_disk / "store") == [0]
    assert verify(open_store(small_disk / "store")).faults == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder; see the read-only disk instead")
def test_a_read_only_folder_refuses_the_recorder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        Recorder(tmp_path / "store", "a")


@contextmanager
def no_file_handles_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_file_handles_the_log_takes_rows_and_flush_makes_do_with_the_logs_own(tmp_path):
    recorder = Recorder(tmp_path, "a")
    recorder.write("steps", losses(0))
    with no_file_handles_left():
        recorder.write("steps", losses(1))
        recorder.flush()
        assert len(list(tmp_path.glob("steps/run=a/*.parquet"))) == 1
    recorder.close()
    assert steps_of(tmp_path) == [0, 1]


def test_where_no_handle_is_left_for_a_log_the_row_is_refused_and_the_next_is_not(tmp_path):
    recorder = Recorder(tmp_path, "a")
    recorder.write("steps", losses(0))
    recorder.flush()
    with no_file_handles_left():
        with pytest.raises(OSError, match="Too many open files"):
            recorder.write("steps", losses(1))
        with pytest.raises(OSError, match="Too many open files"):
            recorder.flush()
    recorder.write("steps", losses(2))
    recorder.close()
    assert steps_of(tmp_path) == [0, 2]


def test_without_file_handles_no_recorder_begins(tmp_path):
    with no_file_handles_left(), pytest.raises(OSError, match="Too many open files"):
        Recorder(tmp_path, "a")
    Recorder(tmp_path, "a").close()


def test_a_clock_that_jumps_changes_no_row_and_no_order(tmp_path, monkeypatch):
    class JumpingClock(datetime):
        moments = iter([datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)] * 50)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # noqa: ARG003  # the real one has it
            return next(cls.moments)

    monkeypatch.setattr(run_row, "datetime", JumpingClock)
    monkeypatch.setattr(run_start, "datetime", JumpingClock)
    monkeypatch.setattr("time.time", lambda: -1e9)
    recorder = Recorder(tmp_path, "a")
    for step in range(6):
        recorder.write("steps", losses(step))
        recorder.flush()
    recorder._owner.forget()
    with Recorder(tmp_path, "a", resume_step=4) as recorder:
        recorder.write("steps", losses(4))
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4]
    assert verify(open_store(tmp_path)).faults == []
    assert pd.read_parquet(tmp_path / "runs")["updated"][0].year in {1971, 2200}


def test_a_damaged_part_of_one_run_does_not_stop_another_and_stops_its_own_resume_by_name(tmp_path):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0))
    [part] = tmp_path.glob("steps/run=a/*.parquet")
    part.write_bytes(part.read_bytes()[:50])
    Recorder(tmp_path, "b").close()
    with pytest.raises(OSError, match=rf"{part} is not a readable Parquet file"):
        Recorder(tmp_path, "a", resume_step=1)


def test_a_damaged_part_does_not_stop_its_run_from_closing(tmp_path, caplog):
    recorder = Recorder(tmp_path, "a")
    for step in range(3):
        recorder.write("steps", losses(step))
        recorder.flush()
    damaged = sorted(tmp_path.glob("steps/run=a/*.parquet"))[1]
    damaged.write_bytes(b"garbage")
    recorder.close()
    assert "parts stay as they are, all rows in them" in caplog.text
    assert [path for path, _ in verify(open_store(tmp_path)).faults] == [str(damaged)]


def test_a_damaged_log_is_kept_and_what_came_before_is_recovered(tmp_path, caplog):
    recorder = Recorder(tmp_path, "a")
    for step in range(5):
        recorder.write("steps", losses(step))
    [segment] = (tmp_path / "_writers" / "a").glob("*.arrows")
    segment.write_bytes(segment.read_bytes() + b"garbage" * 100)
    recorder._owner.forget()
    [recovered] = recover_dead(open_store(tmp_path))
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4]
    assert "was damaged and is kept: the sound rows in it are safe" in caplog.text
    assert [path.exists() for path in recovered.damaged] == [True]


def test_a_store_deleted_under_a_writer_ends_in_one_clear_error(tmp_path):
    recorder = Recorder(tmp_path / "runs", "a")
    recorder.write("steps", losses(0))
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(OSError, match="No such file or directory"):
        recorder.close()
    recorder.close()  # it is closed all the same
