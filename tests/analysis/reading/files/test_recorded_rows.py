"""Rows that stand in a log and in no part yet: of a run that was killed, or is still recorded."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

import analysis
from analysis.findings import findings_of
from analysis.query import query
from analysis.reading.depth_order import layer_names
from analysis.reading.files import recorded_rows
from analysis.reading.files.recorded_rows import find_rows
from analysis.report.report import write_report
from analysis.terminal.watch import default_column, view
from probes import schema
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.recovery import recover_dead

KILLED = """
import os, signal, sys
import pyarrow as pa
from probes.storage.recorder import Recorder

recorder = Recorder(sys.argv[1], "killed", config={"norm": "bn"})
for step in range(6):
    late = {"spectral_norm": float("nan")} if step > 3 else {}  # a column that begins later: a second segment
    keys = [{"step": step, "epoch": 0, "layer": name, "layer_index": at} for at, name in enumerate(["stem", "block"])]
    rows = [{**key, "layer_type": "Conv2d", "weight_mean": None if step == 3 else step / 7, **late} for key in keys]
    recorder.write("layers", pa.RecordBatch.from_pylist(rows))
    recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, "split": "train", "loss": 1 / (step + 1)}]))
    of_layer = {"step": step, "layer": "block", "layer_index": 1, "layer_type": "Conv2d"}
    counts = {"tensor": "gradient", "mantissa_bits": 1, "first_bin": -3, "counts": [step, 1], "n": step + 1}
    recorder.write("histograms", pa.RecordBatch.from_pylist([{**of_layer, **counts, "n_zero": 0, "n_nonfinite": 0}]))
    spectrum = {"view": "unfolded", "singular_values": [1.5, float("nan")]}
    recorder.write("spectra", pa.RecordBatch.from_pylist([{**of_layer, **spectrum}]))
    if str(step) in sys.argv[2:]:
        recorder.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(store: Path, *flushes: int) -> Path:
    """Record a run in a process that is killed, flushed after some of its steps."""
    done = subprocess.run([sys.executable, "-c", KILLED, store, *map(str, flushes)], check=False, timeout=60)
    assert done.returncode == -9
    assert list(store.glob("_writers/killed/layers-*.arrows"))
    return store


def rows_of(*steps: int, layers: tuple[str, ...] = ("conv",), **values: Any) -> pa.RecordBatch:
    keys = [(step, at, name) for step in steps for at, name in enumerate(layers)]
    rows = [{"step": step, "layer": name, "layer_index": at, "layer_type": "Conv2d"} for step, at, name in keys]
    return pa.RecordBatch.from_pylist([{**row, **values} for row in rows])


def answers(store: Path) -> list[pd.DataFrame]:
    """Return what readers answer, filters among them."""
    chosen = {"columns": ["spectral_norm"], "runs": "kill*", "layers": "b*", "steps": (1, 4)}
    return [
        analysis.layers(store),
        analysis.steps(store),
        analysis.histograms(store),
        analysis.spectra(store, steps=(2, None)),
        analysis.layers(store, **chosen),
        analysis.layers(store, measured=["weight_mean"]),
        analysis.layers(store, measured=["spectral_norm"], columns=[]),
        query(store, "SELECT * FROM layers"),
        query(store, "SELECT run, split, max(loss) FROM steps GROUP BY ALL"),
        query(store, "SHOW TABLES"),
        pd.DataFrame(layer_names(store)),
        pd.DataFrame(analysis.fields(store, "layers").values()),
    ]


@pytest.mark.parametrize("flushes", [(), (1,), (1, 4)], ids=["only in logs", "one part", "two parts"])
def test_a_killed_run_reads_as_it_does_once_recovered(
    flushes: tuple[int, ...], tmp_path: Path, tree_of: Callable[[Path], dict]
) -> None:
    store = killed(tmp_path / "runs", *flushes)
    before = tree_of(store)
    found = answers(store)
    assert tree_of(store) == before
    assert found[0]["layer"].cat.categories.tolist() == ["stem", "block"]
    assert len(found[0]) == 12
    assert len(found[5]) == 10  # null is not measured,
    assert found[6]["step"].tolist() == [4, 4, 5, 5]  # NaN is
    recover_dead(open_store(store))
    assert not list(store.glob("_writers/*"))
    for early, late in zip(found, answers(store), strict=True):
        pd.testing.assert_frame_equal(early, late)


def test_rows_of_several_runs_come_run_by_run_and_those_of_a_live_one_too(tmp_path: Path) -> None:
    for run in ("a", "c"):
        with Recorder(tmp_path, run) as closed:
            closed.write("layers", rows_of(0, 1, grad_mean=1.0))
    with Recorder(tmp_path, "b") as live:
        live.write("layers", rows_of(0, 1, weight_mean=2.0))
        rows = analysis.layers(tmp_path)
        assert rows["run"].tolist() == ["a", "a", "b", "b", "c", "c"]
        assert rows["weight_mean"].isna().tolist() == [True, True, False, False, True, True]
        assert len(analysis.layers(tmp_path, runs="b")) == 2
        assert query(tmp_path, "SELECT run, count(weight_mean) AS n FROM layers GROUP BY run ORDER BY run")[
            "n"
        ].tolist() == [0, 2, 0]


def test_logs_of_runs_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    with Recorder(tmp_path, "asked") as recorder:
        recorder.write("layers", rows_of(0))
    other = tmp_path / "_writers" / "other"
    other.mkdir(parents=True)
    (other / "layers-00000001.arrows").write_bytes(b"no log at all")
    assert len(analysis.layers(tmp_path, runs="asked")) == 1
    with pytest.warns(UserWarning, match=r"other/layers-00000001.arrows' is left out: it is damaged or no log"):
        assert len(analysis.layers(tmp_path)) == 1


def test_a_segment_that_a_part_holds_is_not_counted_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "a")
    recorder.write("layers", rows_of(0, 1))
    segment = tmp_path / "_writers" / "a" / "layers-00000001.arrows"
    kept = segment.read_bytes()
    recorder.flush()
    segment.write_bytes(kept)  # as where the file system refused to delete it
    recorder.write("layers", rows_of(2))
    assert analysis.layers(tmp_path)["step"].tolist() == [0, 1, 2]
    assert query(tmp_path, "SELECT step FROM layers ORDER BY step")["step"].tolist() == [0, 1, 2]
    recorder.close()


@pytest.mark.parametrize("read", [analysis.layers, lambda store: query(store, "SELECT * FROM layers")], ids=["", "sql"])
@pytest.mark.parametrize("moment", ["before a segment is opened", "after the first look"])
def test_a_flush_while_a_reader_looks_hides_no_row_and_doubles_none(
    moment: str, read: Callable[[Path], pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, "a")
    recorder.write("layers", rows_of(0, 1))

    def beside_a_flush(look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*args: Any) -> Any:
            if moment == "before a segment is opened" and look.__name__ == "read_segment":
                recorder.flush()
            try:
                return look(*args)
            finally:
                recorder.flush()

        return looked

    for name in ("read_segment", "parts_of"):
        monkeypatch.setattr(recorded_rows, name, beside_a_flush(getattr(recorded_rows, name)))
    assert read(tmp_path)["step"].tolist() == [0, 1]
    assert not list(tmp_path.glob("_writers/a/*.arrows"))
    recorder.close()


def test_beside_a_live_writer_no_row_is_missing_and_none_comes_twice(tmp_path: Path) -> None:
    acknowledged, done, failed = [-1], threading.Event(), []

    def write() -> None:
        try:
            with Recorder(tmp_path, "live") as recorder:
                for step in range(240):
                    recorder.write("layers", rows_of(step, layers=("x", "y")))
                    acknowledged[0] = step
                    if step % 7 == 0:
                        recorder.flush()
        except Exception as error:
            failed.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        least = acknowledged[0]
        if least < 0:
            continue
        for rows in (analysis.layers(tmp_path), query(tmp_path, "SELECT step, layer FROM layers ORDER BY step")):
            steps = rows["step"].to_numpy()
            assert np.array_equal(steps, np.repeat(np.arange(len(steps) // 2), 2))
            assert steps[-1] >= least
        reads += 1
    writer.join()
    assert failed == []
    assert reads
    assert len(analysis.layers(tmp_path)) == 480


def test_readers_of_what_is_there_do_not_fail_on_a_killed_run(tmp_path: Path) -> None:
    store = killed(tmp_path / "runs")
    shutil.copytree(store / "_writers" / "killed", tmp_path / "log")
    with Recorder(store, "silent"):  # has a row in `runs`, and rows in no other table; recovers the killed one
        pass
    shutil.copytree(tmp_path / "log", store / "_writers" / "later")  # has a log, and no row in `runs`
    assert findings_of(store).empty
    assert findings_of(store, runs="silent").empty
    assert findings_of(store, runs="later").empty
    assert write_report(store, tmp_path / "report.html").stat().st_size > 1000
    assert analysis.runs(store)["run"].tolist() == ["killed", "later", "silent"]
    with pytest.raises(ValueError, match="run 'silent' has no rows in table 'layers'; killed, later may have some"):
        analysis.layers(store, runs="silent")
    with pytest.raises(ValueError, match="no run matches 'none'; there are: killed, later, silent"):
        analysis.layers(store, runs="none")


def test_watch_shows_a_run_that_is_only_in_its_log(tmp_path: Path) -> None:
    store = killed(tmp_path / "runs")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view(store, column=default_column(store)))
    text = console.export_text()
    assert re.search(r"train +5 +0.1667", text)
    assert re.search(r"block +\S+ +0 +0.7143", text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A segment of three batches of two rows."""
    with Recorder(tmp_path, "other") as recorder:
        for step in range(3):
            recorder.write("layers", rows_of(step, layers=("x", "y"), weight_mean=1.0))
        content = (tmp_path / "_writers" / "other" / "layers-00000001.arrows").read_bytes()
    segment = tmp_path / "_writers" / "a" / "layers-00000001.arrows"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(content)
    return segment


def steps_in(segment: Path, *, damaged: bool = False) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if damaged else "error")
        found = find_rows(segment.parents[2], "layers", ["a"])
    return [step for rows in found for log in rows.segments for step in log.rows["step"].to_pylist()[::2]]


def test_a_log_ends_where_its_whole_messages_end_wherever_it_is_cut(log: Path) -> None:
    whole = log.read_bytes()
    found = []
    for end in (*range(0, len(whole), 61), len(whole)):
        log.write_bytes(whole[:end])
        found.append(steps_in(log))
    assert {len(steps) for steps in found} == {0, 1, 2, 3}
    assert found == sorted(found)


def test_rows_before_damage_are_read(log: Path) -> None:
    whole = log.read_bytes()
    for tail in (b"\xff\xff\xff\xff" + b"\x10\0\0\0" + b"nonsense" * 20, b"nonsense" * 9, b"\xff" * 64):
        log.write_bytes(whole + tail)
        assert steps_in(log, damaged=True) == [0, 1, 2]
    log.write_bytes(whole + bytes(64))
    assert steps_in(log) == [0, 1, 2]


def test_a_damaged_message_costs_its_own_rows_and_is_named(log: Path) -> None:
    whole = log.read_bytes()
    length = log_length(whole)
    for place in (0, 4, 20, length - 1):  # the mark it begins with, its length, its metadata, its last byte
        second = len(whole) - 2 * length + place
        log.write_bytes(whole[:second] + bytes([whole[second] ^ 1]) + whole[second + 1 :])
        with pytest.warns(UserWarning, match=r"is left out: a part of it is damaged .*recover"):
            assert analysis.layers(log.parents[2], runs="a")["step"].unique().tolist() == [0, 2]


def log_length(content: bytes) -> int:
    """The bytes of each batch of a log whose batches are alike: each begins as the last one does."""
    last = content.rindex(b"\xff\xff\xff\xff" + content[content.rindex(b"\xff\xff\xff\xff") + 4 :][:4])
    return len(content) - last


def test_flipped_bytes_never_crash_a_reader(log: Path) -> None:
    whole, chance = log.read_bytes(), np.random.default_rng(0)
    for place in chance.integers(len(whole), size=80):
        log.write_bytes(whole[:place] + bytes([whole[place] ^ chance.integers(1, 256)]) + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(analysis.layers(log.parents[2])) <= 12


def stream(batches: list[pa.RecordBatch], **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


KEYS = pa.schema(
    [("step", pa.int64()), ("layer", pa.string()), ("layer_index", pa.int16()), ("layer_type", pa.string())]
)


def keys_of(*steps: int | None) -> pa.RecordBatch:
    count = len(steps)
    return pa.record_batch(
        [pa.array(steps, pa.int64()), ["x"] * count, pa.array([0] * count, pa.int16()), ["L"] * count], KEYS
    )


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_messages_are_not_read_for_a_few_bytes_could_fill_the_memory(codec: str, log: Path) -> None:
    log.write_bytes(stream([keys_of(*range(100_000))]))
    assert len(steps_in(log)) == 50_000
    log.write_bytes(stream([keys_of(*range(100_000))], compression=codec))
    assert steps_in(log, damaged=True) == []


def test_a_batch_without_steps_is_left_out(log: Path) -> None:
    log.write_bytes(stream([keys_of(0, 0), keys_of(1, None), keys_of(2, 2)]))
    assert steps_in(log, damaged=True) == [0, 2]


@pytest.mark.parametrize(
    "columns",
    [
        pa.schema([("loss", pa.float64())]),
        pa.schema([("step", pa.float64())]),
        pa.schema([*KEYS, ("run", pa.string())]),
        pa.schema([*KEYS, ("step", pa.int64())]),
        pa.schema([*KEYS, ("word", pa.dictionary(pa.int32(), pa.string()))]),
    ],
    ids=["no step", "a step that is no integer", "a run", "a column twice", "a dictionary"],
)
def test_a_log_that_no_writer_makes_is_left_out_by_name(columns: pa.Schema, log: Path) -> None:
    log.write_bytes(columns.serialize().to_pybytes())
    with pytest.warns(
        UserWarning, match=r"a/layers-00000001.arrows' is left out: it is damaged or no log: .*no log of table 'layers'"
    ):
        assert analysis.layers(log.parents[2])["run"].unique().tolist() == ["other"]


def test_a_log_too_large_for_memory_is_left_out_by_name(log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(schema.MAX_SEGMENT_BYTES + 1)  # a sparse file: takes no space
    with pytest.warns(UserWarning, match=r"layers-00000001.arrows' is left out: it has 268,435,457 bytes.*recover"):
        assert analysis.layers(log.parents[2])["run"].unique().tolist() == ["other"]


def test_a_log_that_contradicts_the_parts_is_left_out_by_name(log: Path) -> None:
    words = keys_of(7).append_column("weight_mean", pa.array(["seven"]))
    log.write_bytes(stream([words]))
    with pytest.warns(UserWarning, match=r"layers-00000001.arrows' is left out: its columns contradict"):
        assert analysis.layers(log.parents[2])["step"].max() == 2
