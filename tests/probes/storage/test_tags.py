"""Tags on runs, and the choice of runs by them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from torch import nn
from typer.testing import CliRunner

import analysis
from analysis.commands import app as reading
from analysis.findings import findings
from analysis.query import query
from analysis.terminal.watch import view
from probes import Probe
from probes.commands import app
from probes.storage.files import open_store
from probes.storage.recorder import Recorder
from probes.storage.tags import chosen_runs, set_tags


@pytest.fixture
def tagged(store: Path) -> Path:
    """Return a store with three runs, two of them tagged."""
    for run, tags in (("a", ["baseline"]), ("b", ["baseline", "long"]), ("c", None)):
        with Recorder(store, run, tags=tags) as recorder:
            row = {"step": 0, "layer": "conv", "layer_index": 0, "layer_type": "Conv2d", "weight_mean": 1.0}
            recorder.write("layers", pa.RecordBatch.from_pylist([row]))
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": 0, "split": "train", "loss": 1.0}]))
    return store


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ("tag:baseline", ["a", "b"]),
        ("tag:long", ["b"]),
        ("tag:*", ["a", "b"]),
        (["tag:long", "c"], ["b", "c"]),
        ("tag:long,c", ["b", "c"]),
    ],
)
def test_every_reader_chooses_runs_by_tag(runs, expected, tagged):
    assert sorted(set(analysis.layers(tagged, runs=runs)["run"])) == expected
    assert sorted(set(analysis.steps(tagged, runs=runs)["run"])) == expected
    assert analysis.runs(tagged, runs=runs)["run"].tolist() == expected
    assert set(findings(tagged, runs=runs)["run"]) <= set(expected)
    assert sorted(set(analysis.groups(tagged, {"all": "*"}, runs=runs)["run"])) == expected


def test_watch_shows_the_last_run_of_a_tag(tagged):
    from rich.console import Console

    console = Console(record=True, width=100)
    console.print(view(tagged, run="tag:baseline", column="weight_mean"))
    lines = console.export_text().splitlines()
    assert lines[0] == "no findings"
    assert next(line for line in lines if "finished" in line).startswith("b ")


def test_a_tag_that_no_run_has_is_refused_with_those_there_are(tagged):
    with pytest.raises(ValueError, match="no run has the tag 'short'; tags: baseline, long"):
        analysis.layers(tagged, runs="tag:short")
    with pytest.raises(ValueError, match="no run has the tag 'short'; tags: baseline, long"):
        chosen_runs(open_store(tagged), ["tag:short"])


def test_a_probe_tags_its_run_and_a_run_that_goes_on_keeps_its_tags(store):
    model = nn.Linear(2, 2)
    with Probe(model, store=store, run="a", tags=["baseline"]):
        pass
    with Probe(model, store=store, run="a", resume="auto"):
        pass
    assert analysis.runs(store, runs="tag:baseline")["tags"].tolist() == ['["baseline"]']


@pytest.mark.parametrize("tags", [["two words"], [""], [3], "tag:x", ["x" * 81]])
def test_what_is_no_word_is_refused_before_anything_is_written(tags, store):
    with pytest.raises(ValueError, match="expected a word of letters"):
        Probe(nn.Linear(2, 2), store=store, tags=tags)
    assert not store.exists()


def test_commands_tag_list_and_choose(tagged):
    def call(*arguments: str) -> str:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    at = ("--store", str(tagged))
    assert call("tag", "c", "--add", "paper", "--add", "long", *at) == "c: paper, long\n"
    assert call("tag", "tag:baseline", "--remove", "baseline", *at) == "a: no tags\nb: long\n"
    listed = call("runs", str(tagged), "--tag", "long").splitlines()
    assert [line.split()[0] for line in listed] == ["run", "b", "c"]
    assert listed[2].split("  ")[-1].strip() == "paper, long"
    assert call("verify", "tag:paper", *at).endswith("3 files, 3 rows, 0 faults\n")
    assert call("export", str(tagged / "out.csv"), "--run", "tag:long", *at).startswith("2 rows of layers")
    assert call("rm", "tag:paper", *at) == "deleted c\n"


def test_check_takes_a_tag(tagged):
    result = CliRunner().invoke(reading, ["check", str(tagged), "--runs", "tag:baseline"])
    assert result.exit_code in (0, 1), result.output


def test_a_run_that_is_written_is_not_tagged(store):
    with Recorder(store, "a"), pytest.raises(ValueError, match="is being written by"):
        set_tags(open_store(store), "a", add=["x"])


def test_tags_of_sql_stand_in_the_runs_table(tagged):
    pytest.importorskip("duckdb")
    answer = query(tagged, "SELECT run FROM runs WHERE tags LIKE '%\"long\"%'")
    assert answer["run"].tolist() == ["b"]
