from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from dynamics import cli


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory, tiny_data: str) -> Path:
    store = tmp_path_factory.mktemp("trained") / "runs"
    settings = ["--norm", "bn", "--data", tiny_data, "--batch-size", "16", "--epochs", "1", "--every", "2"]
    assert cli.run(["train", *settings, "--store", str(store), "--run", "bn-s0"]) == 0
    return store


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """Return a store of the test's own with the finished run ``bn-s0``."""
    return Path(shutil.copytree(trained_once, tmp_path / "runs"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--norm", "batchnorm"], r"no norm 'batchnorm': expected one of none, bn, sn, msn"),
        (["train", "--norm", "ln,bn"], r"no norm 'ln,bn': expected one of none, bn, sn, msn"),
        (["train", "--model", "cnn4"], r"no model 'cnn4': expected one of cnn3, vgg7"),
        (["train", "--data", "mnits"], r"data set 'mnits': expected one of mnist-subset, mnist"),
        (["train", "--data", "cifar10", "--data-dir", "nowhere"], r"data_batch_1 is missing .*--data-dir.*--download"),
        (["train", "--include", "features.block9.*"], r"features\.block9\.\*"),
        (["train", "--every", "-3"], r"every -3: expected 1 or more"),
        (["train", "--epochs", "two"], r"Invalid value for '--epochs'"),
        (["train", "--store", "{file}"], r"file"),
        (["train", "--run", "7"], r"run id '7': expected a letter"),
        (["train", "--run", "bn-s0"], r"run 'bn-s0' exists in store runs: .*\(--resume\).*\(--overwrite\)"),
        (["train", "--augmentation", "flip"], r"augmentation 'flip': expected one of auto, none, crop, crop-flip"),
        (["train", "--data", "folder:{file}"], r"no pictures in .*file/train"),
        (["gan", "--store", "s3://bucket/x", "--steps", "1"], r"name a local folder"),
        (["query", " "], r"the query is empty: expected SQL"),
        (["query", "SELECT 1", "--store", "s9://bucket/x"], r"Protocol not known: s9"),
        (["train", "--from-run", "bn-s9"], r"run 'bn-s9' is not in store"),
        (["train", "--resume"], r"--resume: say which run goes on with --run ID"),
        (["train", "--resume", "--run", "bn-s9"], r"run 'bn-s9' is not in store"),
        (["train", "--resume", "--run", "bn-s0", "--norm", "sn"], r"holds a run 'bn-s0' with norm 'bn', not 'sn'"),
        (["train", "--from-run", "bn-s0", "--protocol", "paper"], r"--from-run and --protocol were given"),
        (["train", "--protocol", "papers"], r"protocol 'papers': expected one of paper, released"),
        (["sweep", "--norm", "bn,bnn"], r"no norm 'bnn'"),
        (["sweep", "--learning-rate", "fast"], r"learning_rate 'fast': expected numbers"),
        (["sweep", "--workers", "-1"], r"workers -1: expected 0 or more"),
        (["trian"], r"No such command 'trian'"),
        (["train", "--nrom", "bn"], r"No such option: --nrom"),
        (["figures", "{empty}"], r"empty"),
        (["figures", "{nowhere}"], r"nowhere"),
        (["runs", "{empty}"], r"holds no run"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written_over(
    trained: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = trained.parent
    monkeypatch.chdir(folder)
    (folder / "file").write_text("mine")
    (folder / "empty").mkdir()
    before = contents(folder)
    given = [
        word.format(file=folder / "file", empty=folder / "empty", nowhere=folder / "nowhere") for word in arguments
    ]
    assert cli.run(given) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"error: .+\n", output.err), output.err
    assert re.search(message, output.err), output.err
    assert contents(folder) == before


def test_without_a_command_the_help_comes_and_no_error_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    output = capsys.readouterr()
    assert "Usage" in output.out + output.err
    assert "error" not in output.err


def test_a_missing_column_is_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in (trained / "layers").rglob("*.parquet"):
        pd.read_parquet(part).drop(columns="weight_mean").to_parquet(part)
    arguments = ["figures", str(trained), "--only", "mean_drift", "--out", str(tmp_path / "out")]
    assert cli.run(arguments) == 2
    assert re.search("weight_mean", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_run_repeats_a_stored_one(trained: Path) -> None:
    assert cli.run(["train", "--from-run", "bn-s0", "--run", "again", "--store", str(trained)]) == 0
    rows = pd.read_parquet(trained / "layers")
    first, again = (
        rows[rows["run"] == run].drop(columns="run").sort_values(["step", "layer_index"], ignore_index=True)
        for run in ("bn-s0", "again")
    )
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_options_go_before_the_settings_of_a_stored_run(trained: Path) -> None:
    from dynamics.classifier.config_sources import stored_config

    assert cli.run(["train", "--from-run", "bn-s0", "--run", "slow", "--seed", "3", "--store", str(trained)]) == 0
    assert stored_config(trained, "slow").seed == 3
    assert stored_config(trained, "slow").norm == "bn"


def test_a_finished_run_goes_on_for_more_epochs(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "--resume", "--run", "bn-s0", "--epochs", "2", "--store", str(trained)]) == 0
    assert "bn-s0 goes on at step 4: 2 epochs, 8 steps" in capsys.readouterr().out


def test_a_finished_run_has_nothing_to_go_on_with(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(trained)
    assert cli.run(["train", "--resume", "--run", "bn-s0", "--store", str(trained)]) == 0
    assert "bn-s0 is finished" in capsys.readouterr().out
    assert contents(trained) == before


def test_sweep_trains_what_is_missing_and_leaves_what_is_there(
    tmp_path: Path, tiny_data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--data", tiny_data, "--batch-size", "16", "--epochs", "1", "--store", str(tmp_path), "--workers", "1"]
    assert cli.run(["sweep", "--norm", "bn", *shared]) == 0
    assert cli.run(["sweep", "--norm", "bn,sn", *shared]) == 0
    output = capsys.readouterr().out
    assert "cnn3-tiny-bn-lr0.001-s0 is finished" in output
    assert output.count("cnn3-tiny-bn-lr0.001-s0 begins") == 1
    assert "cnn3-tiny-sn-lr0.001-s0 begins" in output


def test_what_is_not_the_callers_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise AssertionError("our own")

    monkeypatch.setattr(cli, "make_app", lambda: lambda **_: broken())
    with pytest.raises(AssertionError, match="our own"):
        cli.run([])


def test_a_traceback_is_there_for_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEANDRIFT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="every -3"):
        cli.run(["train", "--every", "-3"])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, EOFError])
def test_ctrl_c_is_status_130(interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise interruption

    monkeypatch.setattr("dynamics.classifier.run.run", stopped)
    assert cli.run(["train"]) == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    result = subprocess.run(
        f"{sys.executable} -m dynamics train --help | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


@pytest.mark.parametrize("command", [[], ["train"], ["sweep"], ["reproduce"], ["figures"], ["runs"]])
def test_help_reads_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage:" in text
    assert "None" not in text


def test_help_offers_every_setting_with_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import fields

    from dynamics.classifier.config import RunConfig

    monkeypatch.setenv("COLUMNS", "200")
    cli.run(["train", "--help"])
    text = capsys.readouterr().out
    for setting in fields(RunConfig):
        assert f"--{setting.name.replace('_', '-')}" in text
    assert "Default: mnist-subset." in " ".join(text.replace("│", " ").split())  # wherever the line is broken


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"meandrift {version('meandrift')}\n"


def test_a_shell_completes_commands() -> None:
    program = "import sys; sys.argv = ['meandrift']; from dynamics.cli import main; main()"
    asked = {"_MEANDRIFT_COMPLETE": "complete_bash", "COMP_WORDS": "meandrift co", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["compact"], done.stderr


def test_params_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["params", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"model", "norm", "count", "paper", "difference", "reason"} <= set(rows[0])
    assert [row["paper"] for row in rows if row["model"] == "3-layer CNN"] == [103_562, 103_406, 103_486]
