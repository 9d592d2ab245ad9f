"""Checksums of logs and parts: each flipped bit is found, and costs no more than what it is in."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from probes.commands import app
from probes.storage.files import open_store
from probes.storage.log import read_segment
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead
from probes.storage.verify import verify


def losses(first: int, last: int) -> pa.RecordBatch:
    rows = [{"step": step, "split": "train", "loss": step / 3} for step in range(first, last)]
    return pa.RecordBatch.from_pylist(rows)


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store whose only run has four batches in its log."""
    recorder = Recorder(tmp_path, "a")
    for step in range(4):
        recorder.write("steps", losses(step, step + 1))
    recorder._owner.forget()
    return tmp_path


def test_every_flipped_bit_of_a_log_is_found(killed, seed):
    [path] = (killed / "_writers" / "a").glob("steps-*.arrows")
    whole, chance = path.read_bytes(), random.Random(seed)
    for place in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(flipped(whole, place, chance.randrange(8)))
        found = read_segment(path)
        assert found.faults, place
        steps = [] if found.rows is None else found.rows["step"].to_pylist()
        assert found.rows is None or len(steps) == 3, place  # of the schema it costs all, of a batch its own rows


def test_noise_over_the_last_message_of_a_log_is_no_unfinished_message(killed, seed):
    [path] = (killed / "_writers" / "a").glob("steps-*.arrows")
    whole, chance = path.read_bytes(), random.Random(seed)
    last = len(whole) - (len(whole) - whole.index(b"mdCk")) // 4  # within the last of four messages
    for _ in range(500):
        place = chance.randrange(last, len(whole) - 4)
        noise = chance.randbytes(min(chance.choice([4, 16, 64]), len(whole) - place))
        path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
        assert read_segment(path).faults, (place, noise)


def test_a_message_that_was_never_finished_is_no_damage(killed):
    [path] = (killed / "_writers" / "a").glob("steps-*.arrows")
    whole = path.read_bytes()
    for size in range(len(whole) - 300, len(whole)):
        path.write_bytes(whole[:size])
        assert read_segment(path).faults == [], size


def test_every_flipped_bit_of_a_part_is_found(tmp_path, seed):
    with Recorder(tmp_path, "a") as recorder:
        recorder.write("steps", losses(0, 20))
    chance = random.Random(seed)
    for path in (next(tmp_path.glob("steps/run=a/*.parquet")), next(tmp_path.glob("runs/run=a/*.parquet"))):
        whole = path.read_bytes()
        for place in [*(chance.randrange(len(whole)) for _ in range(60)), 0, len(whole) - 1, len(whole) - 5]:
            path.write_bytes(flipped(whole, place, chance.randrange(8)))
            assert str(path) in {fault for fault, _ in verify(open_store(tmp_path)).faults}, place
        path.write_bytes(whole)
    assert verify(open_store(tmp_path)).faults == []


def test_a_damaged_row_of_one_run_stops_no_listing(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    for run in ("a", "b"):
        with Recorder(tmp_path, run) as recorder:
            recorder.write("steps", losses(0, 3))
    path = tmp_path / "runs" / "run=a" / "part-0.parquet"
    path.write_bytes(b"garbage")
    told = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.stdout.splitlines()[1:]] == ["a", "b"]
    assert f"damaged: {path} is not a readable Parquet file" in told.stderr


@pytest.mark.parametrize("kind", ["garbage", "another table", "compressed", "nested"])
def test_a_hostile_log_keeps_no_new_run_out_of_the_store(killed, kind, caplog):
    log = killed / "_writers" / "a" / "steps-00000009.arrows"
    schemas = {
        "another table": pa.schema([("layer", pa.string())]),
        "compressed": pa.schema([("step", pa.int64()), ("split", pa.string())]),
        "nested": pa.schema([("step", pa.int64()), ("split", pa.list_(pa.list_(pa.int64())))]),
    }
    if kind == "garbage":
        log.write_bytes(b"\xff\xff\xff\xff" * 500)
    else:
        columns = schemas[kind]
        rows = pa.RecordBatch.from_arrays([pa.nulls(100, column.type) for column in columns], schema=columns)
        options = pa.ipc.IpcWriteOptions(compression="zstd" if kind == "compressed" else None)
        with pa.OSFile(str(log), "wb") as sink, pa.ipc.new_stream(sink, columns, options=options) as writer:
            writer.write_batch(rows)
    with Recorder(killed, "new") as recorder:
        recorder.write("steps", losses(0, 1))
    assert "damaged-steps-00000009.arrows was damaged and is kept" in caplog.text
    assert verify(open_store(killed)).faults == []
    assert recover_dead(open_store(killed)) == []
