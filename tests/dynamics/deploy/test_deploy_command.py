"""``meandrift deploy``: what a person types and reads."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from dynamics import cli
from dynamics.deploy import report
from dynamics.deploy.folding import Folded
from dynamics.gan.config import GanConfig
from dynamics.runtime.checkpoint import checkpoint_path, save_checkpoint
from probes import Recorder
from probes.storage.seal import unsealed

SHOWN = ["trained", "folded", "int8", "pruned_50", "pruned_80", "pruned_90"]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory, tiny_data: str) -> Path:
    store = tmp_path_factory.mktemp("deploy") / "runs"
    for norm in ("msn", "bn"):
        settings = ["--norm", norm, "--data", tiny_data, "--batch-size", "16", "--epochs", "2", "--every", "4"]
        assert cli.run(["train", *settings, "--store", str(store), "--run", f"{norm}-s0"]) == 0
    return store


@pytest.fixture
def store(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store of the test's own with the finished runs ``bn-s0`` and ``msn-s0``; ONNX is not installed."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained_once, tmp_path / "runs"))


def rewritten(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the state of bn-s0's checkpoint."""
    place = checkpoint_path(store, "bn-s0")
    state = torch.load(io.BytesIO(unsealed(place.read_bytes())), weights_only=True)
    change(state)
    save_checkpoint(place, state)


def test_rows_are_printed_and_written_by_norm(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["deploy", "msn-s0", "bn-s0", "msn-s0", "--rounds", "2"]) == 0
    said = capsys.readouterr()
    shown = re.findall(r"^ *(bn-s0|msn-s0) ", said.out, re.MULTILINE)
    assert shown == ["bn-s0", "msn-s0"] * 3  # three tables
    assert max(map(len, said.out.splitlines())) <= 80
    assert "onnxruntime not installed" in said.err.replace("onnx, onnxruntime, onnxscript", "onnxruntime")
    csv, parquet = pd.read_csv("deployed/deploy.csv"), pd.read_parquet("deployed/deploy.parquet")
    told = json.loads(Path("deployed/deploy.json").read_text())
    assert list(csv["run"]) == ["bn-s0"] * 6 + ["msn-s0"] * 6
    assert list(csv["variant"]) == SHOWN * 2
    assert list(csv.columns) == list(parquet.columns) == list(told["rows"][0])
    pd.testing.assert_series_equal(csv["logit_error"], parquet["logit_error"], check_exact=False, rtol=1e-12)
    assert [row["changed_images"] for row in told["rows"]] == list(parquet["changed_images"])
    assert told["machine"]["torch"] == torch.__version__
    assert len(told["notes"]) == 2


def test_folding_changes_no_image_and_the_accuracy_is_the_recorded_one(store: Path) -> None:
    assert cli.run(["deploy", "bn-s0", "msn-s0", "--rounds", "2"]) == 0
    rows = pd.read_parquet("deployed/deploy.parquet").set_index(["run", "variant"])
    steps = pd.read_parquet(store / "steps")
    for run in ("bn-s0", "msn-s0"):
        of = rows.loc[run]
        tests = steps[(steps["run"] == run) & (steps["split"] == "test")]
        assert of.loc["trained", "accuracy"] == tests.sort_values("step")["accuracy"].iloc[-1]
        assert of.loc["folded", "changed_images"] == 0
        assert 0 < of.loc["folded", "logit_error"] < 1e-4
        assert (of["images"] == 20).all()
        assert (of["right"] == of["accuracy"] * 20).all()
        assert of.loc["pruned_80", "zero_share"] == pytest.approx(0.8, abs=1e-3)
        assert of.loc["int8", "bytes"] < 0.3 * of.loc["folded", "bytes"]
        assert (of.loc["folded", ["latency_ms", "latency_ratio", "latency_control"]] > 0).all()
    assert rows.loc["bn-s0"].loc["folded", "bytes"] == rows.loc["msn-s0"].loc["folded", "bytes"]


def test_the_status_is_1_if_folding_changes_an_image(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -super().forward(x)

    monkeypatch.setattr(report, "fold_network", lambda network: Folded(Backwards(network), {}, ""))
    assert cli.run(["deploy", "bn-s0", "--rounds", "1"]) == 1
    assert "bn-s0: 20 images have another class, folded" in capsys.readouterr().err


def test_an_unfinished_run_is_deployed_at_its_last_checkpoint_and_told(
    store: Path, tiny_data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynamics.classifier.config import RunConfig
    from dynamics.classifier.run import run
    from dynamics.runtime.events import Event, Scored

    def stop(event: Event) -> None:
        if isinstance(event, Scored):
            raise KeyboardInterrupt

    config = RunConfig(norm="sn", data=tiny_data, batch_size=16, epochs=5, every=4)
    with pytest.raises(KeyboardInterrupt):
        run(config, store=store, name="short", watch=stop)
    assert cli.run(["deploy", "short", "--rounds", "1"]) == 0
    assert "not finished: its network of step 4 is taken" in capsys.readouterr().err
    assert set(pd.read_parquet("deployed/deploy.parquet")["step"]) == {4}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("bn-s9", r"run 'bn-s9' is not in store runs: `meandrift runs runs` lists"),
        ("bare", r"run 'bare' is of another program: expected a run of `meandrift train`"),
        ("gan", r"run 'gan' is of `meandrift gan`: expected a classifier"),
        ("7", r"run id '7'"),
        ("bn-s0", r"run 'bn-s0' has no checkpoint: .* `meandrift train` writes one at the end of each epoch"),
    ],
)
def test_a_run_that_cannot_be_deployed_is_refused_in_one_line(
    run: str, message: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorder(store, "bare").close()
    Recorder(store, "gan", config=GanConfig().to_dict()).close()
    checkpoint_path(store, "bn-s0").unlink()
    assert cli.run(["deploy", "msn-s0", run]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert re.search(message, said.err)
    assert not Path("deployed").exists()


def test_a_checkpoint_of_another_network_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(store, lambda state: state["model"].popitem())
    assert cli.run(["deploy", "bn-s0"]) == 2
    assert "does not fit this run" in capsys.readouterr().err
    shutil.copy(checkpoint_path(store, "msn-s0"), checkpoint_path(store, "bn-s0"))
    assert cli.run(["deploy", "bn-s0"]) == 2
    assert "is of a run with norm 'msn', not 'bn'" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(store, lambda state: next(iter(state["model"].values())).view(-1)[:1].fill_(float("nan")))
    assert cli.run(["deploy", "bn-s0"]) == 2
    assert "run 'bn-s0' diverged: " in capsys.readouterr().err


@pytest.mark.parametrize(("option", "images"), [("7", 7), ("1", 1), ("500", 20), ("0", 20)])
def test_test_images_are_an_even_choice(option: str, images: int, store: Path) -> None:
    assert cli.run(["deploy", "bn-s0", "--rounds", "1", "--test-images", option]) == 0
    assert set(pd.read_parquet("deployed/deploy.parquet")["images"]) == {images}


def test_a_negative_number_of_images_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["deploy", "bn-s0", "--test-images", "-1"]) == 2
    assert "test_images -1: expected 0 (all) or more" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("mine")
    assert cli.run(["deploy", "bn-s0", "--out", "taken"]) == 2
    said = capsys.readouterr()
    assert (said.out, Path("taken").read_text()) == ("", "mine")
    assert "--out taken is a file: expected a folder" in said.err


@pytest.mark.frameworks
def test_with_onnxruntime_a_row_tells_the_files_size_and_that_no_image_changed(
    trained_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    assert cli.run(["deploy", "msn-s0", "--store", str(trained_once), "--out", str(tmp_path), "--rounds", "1"]) == 0
    row = pd.read_parquet(tmp_path / "deploy.parquet").set_index("variant").loc["onnx"]
    assert row["changed_images"] == 0
    assert row["bytes"] == (tmp_path / "msn-s0.onnx").stat().st_size
    assert capsys.readouterr().err.count("\n") == 0
