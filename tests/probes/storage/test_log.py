import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from probes.schema import segment_number
from probes.storage.log import TableLog, find_segments, read_segment


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"step": step, "split": "train", "loss": step / 3} for step in range(first, last)]
    )


def table_log(workspace: Path, *, first: int) -> TableLog:
    return TableLog(workspace, "steps", first=first, spill=workspace / "spool" / "_writers" / "a")


def steps_in(rows: pa.Table | None) -> list[int]:
    return [] if rows is None else rows["step"].to_pylist()


def test_a_segment_is_an_arrow_stream_that_any_reader_opens(tmp_path):
    log = table_log(tmp_path, first=1)
    log.append(losses(0, 2))
    log.append(losses(2, 3))
    [path] = find_segments(tmp_path, "steps").values()
    assert pa.ipc.open_stream(path.read_bytes()).read_all()["step"].to_pylist() == [0, 1, 2]


def test_a_log_torn_at_any_byte_keeps_every_whole_record_before(tmp_path):
    log = table_log(tmp_path, first=1)
    ends = [0]
    for step in range(3):
        log.append(losses(step, step + 1))
        ends.append(log._end)
    [path] = log.finish_segments()
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        found = read_segment(path)
        assert steps_in(found.rows) == [step for step in range(3) if ends[step + 1] <= size], size
        assert not found.damaged


@pytest.mark.parametrize("position", [0, 100, -300, -1])
def test_a_log_that_something_else_wrote_into_gives_what_came_before(tmp_path, position):
    log = table_log(tmp_path, first=1)
    for step in range(20):
        log.append(losses(step, step + 1))
    [path] = log.finish_segments()
    content = bytearray(path.read_bytes())
    content[position:] = os.urandom(len(content[position:]))
    path.write_bytes(content)
    steps = steps_in(read_segment(path).rows)
    assert steps == list(range(len(steps)))


def test_garbage_in_place_of_a_log_is_called_damaged(tmp_path):
    path = tmp_path / "steps-00000001.arrows"
    path.write_bytes(b"not a log at all" * 20)
    assert read_segment(path).damaged


def test_zeros_after_a_power_cut_are_no_damage(tmp_path):
    log = table_log(tmp_path, first=1)
    log.append(losses(0, 4))
    [path] = log.finish_segments()
    path.write_bytes(path.read_bytes() + bytes(500))
    found = read_segment(path)
    assert steps_in(found.rows) == [0, 1, 2, 3]
    assert not found.damaged


class FullDisk:
    """Takes half of each message for a while, then says that the disk is full."""

    def __init__(self, monkeypatch, *, calls: int) -> None:
        self.calls, self._write = calls, os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, content: memoryview) -> int:
        if self.calls == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.calls -= 1
        return self._write(descriptor, content[: len(content) // 2 + 1])


def test_a_record_that_does_not_fit_on_the_disk_leaves_those_before_and_after_readable(tmp_path, monkeypatch):
    log = table_log(tmp_path, first=1)
    log.append(losses(0, 1))
    with monkeypatch.context() as patch:
        FullDisk(patch, calls=2)
        with pytest.raises(OSError, match="No space left"):
            log.append(losses(1, 2))
    log.append(losses(2, 3))
    [path] = log.finish_segments()
    assert steps_in(read_segment(path).rows) == [0, 2]


def test_where_a_torn_record_cannot_be_cut_off_the_next_stands_in_a_new_segment(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    log = table_log(tmp_path, first=1)
    log.append(losses(0, 1))
    with monkeypatch.context() as patch:
        FullDisk(patch, calls=2)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="No space left"):
            log.append(losses(1, 2))
    log.append(losses(2, 3))
    found = [read_segment(path) for path in log.finish_segments()]
    assert [steps_in(segment.rows) for segment in found] == [[0], [2]]


def test_a_segment_that_cannot_begin_leaves_no_file(tmp_path, monkeypatch):
    log = table_log(tmp_path, first=1)
    with monkeypatch.context() as patch:
        FullDisk(patch, calls=0)
        with pytest.raises(OSError, match="No space left"):
            log.append(losses(0, 1))
    assert list(tmp_path.iterdir()) == []
    log.append(losses(1, 2))
    assert [steps_in(read_segment(path).rows) for path in log.finish_segments()] == [[1]]


def test_a_column_not_met_before_begins_a_new_segment_and_one_that_stays_away_does_not(tmp_path):
    log = table_log(tmp_path, first=7)
    log.append(losses(0, 1))
    log.append(losses(1, 2).append_column("mine", pa.array([1.5])))
    log.append(losses(2, 3))
    segments = log.finish_segments()
    assert [segment_number(path.name, "steps") for path in segments] == [7, 8]
    assert read_segment(segments[1]).rows["mine"].to_pylist() == [1.5, None]


def test_a_batch_that_is_spilled_is_a_segment_between_those_before_and_after_it(tmp_path):
    log = table_log(tmp_path, first=1)
    log.append(losses(0, 2))
    spilled = log.spill(losses(2, 3))
    log.append(losses(3, 4))
    segments = log.finish_segments()
    assert [segment_number(path.name, "steps") for path in segments] == [1, 2, 3]
    assert [path.parent for path in segments] == [tmp_path, spilled.parent, tmp_path]
    assert [steps_in(read_segment(path).rows) for path in segments] == [[0, 1], [2], [3]]


def test_the_rows_of_a_segment_that_somebody_deletes_are_spilled(tmp_path):
    log = table_log(tmp_path, first=1)
    log.append(losses(0, 2))
    [path] = find_segments(tmp_path, "steps").values()
    path.unlink()
    log.append(losses(2, 3))
    segments = log.finish_segments()
    assert [path.parent for path in segments] == [tmp_path / "spool" / "_writers" / "a", tmp_path]
    assert [steps_in(read_segment(path).rows) for path in segments] == [[0, 1], [2]]


def test_a_segment_never_grows_beyond_what_a_reader_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("probes.schema.MAX_SEGMENT_BYTES", 4000)
    log = table_log(tmp_path, first=1)
    for first in range(0, 300, 60):
        log.append(losses(first, first + 60))
    segments = log.finish_segments()
    assert len(segments) > 1
    assert max(path.stat().st_size for path in segments) <= 4000
    assert [step for path in segments for step in steps_in(read_segment(path).rows)] == list(range(300))
