"""The store's commands, as a user types them."""

import json
import re
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from probes.commands import app
from probes.storage.recorder import Recorder


def losses(first: int, last: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": "train"} for step in range(first, last)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One finished run ``a``, and ``dead``, whose writer died with five rows in its log."""
    with Recorder(tmp_path / "runs", "a") as recorder:
        recorder.write("steps", losses(0, 3))
    recorder = Recorder(tmp_path / "runs", "dead")
    recorder.write("steps", losses(0, 5))
    kill_writer_of(recorder)
    return tmp_path / "runs"


def meandrift(*words: object, store: Path) -> Result:
    told = [str(store)] if words[0] == "runs" else ["--store", str(store)]
    return CliRunner().invoke(app, [*map(str, words), *told])


def kill_writer_of(recorder: Recorder) -> None:
    """Leave the workspace as SIGKILL does: an owner that lives no more, and a log."""
    recorder._owner.forget()
    owner = recorder._owner.workspace / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "pid": 2**22 + 1}))


def test_runs_lists_every_run_with_its_rows_those_of_killed_writers_too_and_writes_nothing(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    before = sorted((path, path.lstat().st_mtime_ns) for path in store.rglob("*"))
    listed = meandrift("runs", store=store)
    lines = listed.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["a", "finished"], ["dead", "killed"]]
    assert [line.split()[-4] for line in lines[1:]] == ["3", "5"]
    assert f"meandrift recover --store {store}" in listed.stderr
    assert sorted((path, path.lstat().st_mtime_ns) for path in store.rglob("*")) == before


def test_runs_names_what_is_left_out_of_a_store(store, tmp_path):
    (store / "layers").symlink_to(tmp_path)
    (store / "steps" / "run=..x").mkdir()
    told = meandrift("runs", store=store).stderr
    assert f"left out: {store / 'layers'} is a symbolic link, which is not followed" in told
    assert f"left out: {store / 'steps' / 'run=..x'} has a name that is not a run id" in told


def test_runs_of_a_live_writer_are_listed_as_running(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with Recorder(tmp_path, "live"):
        assert meandrift("runs", store=tmp_path).stdout.splitlines()[1].split()[:2] == ["live", "running"]


def test_runs_shows_a_question_mark_for_a_part_it_cannot_count(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    [part] = store.glob("steps/run=a/*.parquet")
    part.write_bytes(b"garbage")
    assert meandrift("runs", store=store).stdout.splitlines()[1].split()[-4] == "?"


def test_runs_on_eighty_columns_wraps_and_cuts_nothing_and_names_what_it_leaves_out(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-long-name-of-a-run-with-settings-in-it"
    with Recorder(store, name) as recorder:
        recorder.write("steps", losses(0, 3))
    listed = meandrift("runs", store=store)
    lines = listed.stdout.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert "…" not in listed.stdout
    assert name in listed.stdout
    assert re.search(r"finished +\d{4}-\d\d-\d\d \d\d:\d\d", listed.stdout)
    assert "no room for per 1,000 steps, started, device" in listed.stderr


def test_runs_and_verify_print_json_for_programs(store):
    listed = {row["run"]: row for row in json.loads(meandrift("runs", "--json", store=store).stdout)}
    assert (listed["a"]["status"], listed["a"]["rows"], listed["a"]["last_step"]) == ("finished", 3, 2)
    assert listed["dead"]["status"] == "killed"
    assert datetime.fromisoformat(listed["a"]["updated"]).tzinfo is not None
    found = json.loads(meandrift("verify", "--json", store=store).stdout)
    assert found["faults"] == []
    assert found["notes"] == ["run 'dead': 1 log segment not in parts yet"]


def test_recover_says_what_came_back_and_the_second_time_that_nothing_did(store):
    assert meandrift("recover", store=store).stdout == "recovered run 'dead': 5 rows of steps\n"
    assert meandrift("recover", store=store).stdout == "nothing to recover\n"


def test_recover_by_force_wants_a_run_named(store):
    result = meandrift("recover", "--force", store=store)
    assert isinstance(result.exception, ValueError)
    assert "meandrift recover RUN --force" in str(result.exception)


def test_compact_joins_parts_and_recovers_first(store):
    result = meandrift("compact", store=store)
    assert result.stdout == "a/steps: 1 part -> 1\ndead/steps: 1 part -> 1\n"


def test_compact_joins_what_a_dead_writer_left_in_many_parts(tmp_path):
    recorder = Recorder(tmp_path, "dead")
    for step in range(4):
        recorder.write("steps", losses(step, step + 1))
        recorder.flush()
    recorder._owner.forget()
    assert meandrift("compact", "dead", store=tmp_path).stdout == "dead/steps: 4 parts -> 1\n"


def test_compact_leaves_a_live_run_alone_and_says_so(tmp_path):
    with Recorder(tmp_path, "live") as recorder:
        recorder.write("steps", losses(0, 1))
        recorder.flush()
        result = meandrift("compact", store=tmp_path)
    assert "left alone: run 'live' is being written by process" in result.stderr


def test_rm_deletes_a_run_from_every_table_its_log_checkpoint_and_samples(store):
    for kept in (store / "_checkpoints" / "a.pt", store / "samples" / "run=a" / "step-00000000.png"):
        kept.parent.mkdir(parents=True)
        kept.touch()
    assert meandrift("rm", "dead", "a", store=store).stdout == "deleted dead\ndeleted a\n"
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_rm_of_a_run_that_is_not_there_says_which_are(store):
    result = meandrift("rm", "b", store=store)
    assert "has no run 'b'; it has a, dead" in str(result.exception)


def test_verify_of_a_sound_store_ends_with_status_0(store):
    result = meandrift("verify", store=store)
    assert result.exit_code == 0
    assert result.stdout == ("note: run 'dead': 1 log segment not in parts yet\n3 files, 5 rows, 0 faults\n")


def test_verify_names_the_bad_file_and_ends_with_status_1(store):
    [part] = store.glob("steps/run=a/*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    result = meandrift("verify", "a", store=store)
    assert result.exit_code == 1
    assert f"BAD {part}: cannot be read" in result.stdout


def test_export_takes_the_rows_of_a_killed_writer_too(store, tmp_path):
    result = meandrift("export", tmp_path / "steps.csv", "--table", "steps", store=store)
    assert result.stdout == f"8 rows of steps -> {tmp_path / 'steps.csv'}\n"
    exported = pd.read_csv(tmp_path / "steps.csv")
    assert exported.groupby("run")["step"].agg(list).to_dict() == {"a": [0, 1, 2], "dead": [0, 1, 2, 3, 4]}


def test_export_takes_the_kind_from_the_name(store, tmp_path):
    result = meandrift("export", tmp_path / "steps.csv", "--table", "steps", "--run", "a", store=store)
    assert result.stdout == f"3 rows of steps -> {tmp_path / 'steps.csv'}\n"


def test_every_command_says_so_when_there_is_no_store(tmp_path):
    for words in (["runs"], ["recover"], ["compact"], ["rm", "a"], ["verify"], ["export", tmp_path / "x.csv"]):
        result = meandrift(*words, store=tmp_path / "nowhere")
        assert isinstance(result.exception, FileNotFoundError)
        assert "holds no run: check its path" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("compact", "nonsense"), ("recover", "nonsense"), ("rm", "a", "nonsense")])
def test_a_run_that_is_not_there_is_refused_before_anything_is_done(words, store):
    result = meandrift(*words, store=store)
    assert "has no run 'nonsense'; it has a, dead" in str(result.exception)
    assert list(store.glob("steps/run=a/*.parquet"))
