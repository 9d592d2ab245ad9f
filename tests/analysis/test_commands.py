from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamics.cli import run


def test_figures_draws_what_is_asked_for(small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = ["--only", "mean_drift", "--only", "acc*", "--layers", "*.conv", "--runs", "sn-*", "--format", "svg,png"]
    assert run(["figures", str(small_store), *asked, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{end}" for name in ("mean_drift", "accuracy", "accuracy_time") for end in ("svg", "png", "json")
    )
    assert "mean_drift.svg" in capsys.readouterr().out


def test_what_cannot_be_drawn_is_one_line_and_no_failure_unless_asked_for(
    make_store: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.figures import FIGURES

    monkeypatch.setattr(
        "analysis.gallery.gallery.FIGURES", {name: FIGURES[name] for name in ("mean_drift", "spectrum")}
    )
    store = make_store(norms=["bn"], records=2, without_tables=["spectra"])
    arguments = ["figures", str(store), "--format", "svg", "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    told = capsys.readouterr()
    assert "mean_drift.svg" in told.out
    refused = [line for line in told.err.splitlines() if line.startswith("not drawn: ")]
    assert refused == [
        f"not drawn: spectrum: store {str(store)!r} has no table 'spectra'; "
        "it has layers, histograms, channels, units, steps, runs"
    ]
    assert run([*arguments, "--only", "spectrum"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figures", "nowhere"], "error: store 'nowhere' does not exist"),
        (["figures", "empty"], "error: store 'empty' is empty"),
        (["figures", "file"], "error: store 'file' is a file"),
        (["figures", "store", "--only", "fig4"], "error: no figure matches 'fig4'; there are: gradient_sparsity"),
        (["figures", "store", "--format", "jpg"], "error: format jpg: expected one or more of png, pdf, svg"),
        (["figures", "store", "--runs", "wn"], "error: no run matches 'wn'; there are: bn-s0"),
        (["tables", "nowhere"], "error: store 'nowhere' does not exist"),
        (["tables", "store", "--format", "html"], "error: format html: expected one or more of md, tex, csv"),
        (["report", "nowhere"], "error: store 'nowhere' does not exist"),
        (["watch", "nowhere", "--once"], "error: store 'nowhere' does not exist"),
        (["check", "nowhere"], "error: store 'nowhere' does not exist"),
        (["check", "store", "--threshold", "deed=1"], "error: threshold 'deed=1': expected name=number, one of "),
        (["check", "store", "--runs", "wn"], "error: no run matches 'wn'; there are: bn-s0"),
        (["watch", "store", "--once", "--column", "x"], "error: table 'layers' has no column x; it has: weight_mean"),
        (["query", "select 1", "--store", "store", "--format", "xml"], "error: format 'xml': expected table or csv"),
    ],
)
def test_mistakes_are_one_line_and_status_two(
    arguments: list[str],
    message: str,
    make_store: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = make_store(norms=["bn"], records=2)
    monkeypatch.chdir(store.parent)
    Path("empty").mkdir()
    Path("file").touch()
    assert run(arguments) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(message)
    assert "\n" not in told


def test_tables_are_printed_or_written(small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tables", str(small_store)]) == 0
    told = capsys.readouterr()
    assert "| cnn3 | mnist | MSN | 0.001 |" in told.out
    assert "no table scores: Table II needs scores" in told.err
    assert run(["tables", str(small_store), "--only", "scores"]) == 2
    assert run(["tables", str(small_store), "--format", "tex,csv", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.tex", "accuracy.csv"}


def test_report_writes_one_page(small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "report.html"
    assert run(["report", str(small_store), "-o", str(out)]) == 0
    assert out.read_text().startswith("<!doctype html>")
    assert "report.html  (" in capsys.readouterr().out


def test_query_answers_as_table_or_csv(small_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT run, count(*) AS n FROM steps GROUP BY run ORDER BY run"
    assert run(["query", sql, "--store", str(small_store), "--format", "csv"]) == 0
    assert capsys.readouterr().out == "run,n\nbn-s0,51\nmsn-s0,51\nsn-s0,51\n"
    assert run(["query", sql, "--store", str(small_store)]) == 0
    assert capsys.readouterr().out.split() == ["run", "n", "bn-s0", "51", "msn-s0", "51", "sn-s0", "51"]


def test_watch_once_looks_and_ends(small_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(small_store), "--once", "--run", "sn-s0", "--column", "spectral_norm"]) == 0
    told = capsys.readouterr().out
    assert "sn-s0" in told
    assert "spectral_norm, 4 of 4 layers" in told


@pytest.mark.parametrize("command", ["figures", "tables", "report", "query", "watch", "check"])
def test_each_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Example: meandrift {command}" in capsys.readouterr().out


def test_what_a_reader_leaves_out_is_one_line_of_warning(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(norms=["bn"], records=2)
    link = store / "runs" / "run=linked"
    link.symlink_to(store / "runs" / "run=bn-s0")
    command = [sys.executable, "-m", "dynamics", "report", str(store), "--out", str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"warning: {str(link)!r} is left out: it is a symbolic link: copy the run" in done.stderr
    assert "UserWarning" not in done.stderr


def test_check_of_a_grave_fault_names_it_with_cause_and_remedy_and_has_status_one(
    make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10})
    assert run(["check", str(store)]) == 1
    told = capsys.readouterr().out
    assert "grave: NaN in run sn-s0, layer block1.conv and 3 other layers, steps 500 to 950" in told
    assert "  cause:  " in told
    assert "  remedy: " in told
    assert told.splitlines()[-1].startswith("1 grave, ")


def test_check_without_a_grave_fault_has_status_zero_and_thresholds_decide(
    make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(norms=["bn"], records=20)
    assert run(["check", str(store)]) == 0
    *_, unchecked, last = capsys.readouterr().out.splitlines()
    assert unchecked.startswith("not checked, run bn-s0: ")
    assert last.startswith("0 grave, ")
    assert run(["check", str(store), "--threshold", "exploded=0.5"]) == 1
    assert "grave: exploding in run bn-s0" in capsys.readouterr().out


def test_check_prints_json_for_programs(make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10})
    assert run(["check", str(store), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["grave"] == 1
    first = told["findings"][0]
    assert (first["kind"], first["severity"], first["run"], first["layer"]) == ("NaN", "grave", "sn-s0", "block1.conv")
    assert (first["from_step"], first["to_step"], first["layers"]) == (500, 950, 4)
