from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.figures import FIGURES
from dynamics import cli
from dynamics.classifier.config import RunConfig
from dynamics.classifier.run import run
from dynamics.gan.config import GanConfig
from dynamics.sweeps.experiments import EXPERIMENTS, Experiment, GanExperiment
from dynamics.sweeps.reproduce import Reproduction
from dynamics.sweeps.results import results

PAPER_FIGURES = {
    "gradient_sparsity",
    "accuracy",
    "layer_means",
    "mean_drift",
    "gradient_histograms",
    "singular_values",
}


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take most of the time."""
    monkeypatch.setattr("dynamics.sweeps.reproduce.draw", lambda *_, **__: Reproduction())


@pytest.fixture
def tiny_experiment(tiny_data: str, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Put a comparison of seconds in the place of the shipped one."""
    base = RunConfig(data=tiny_data, batch_size=16, epochs=2, every=1)
    experiment = Experiment("tiny", base, {"norm": ("bn", "sn", "msn")})
    monkeypatch.setitem(EXPERIMENTS, "cnn3-subset", experiment)
    return experiment


def test_reproduce_trains_draws_and_reports(
    tiny_experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["reproduce", "--store", str(tmp_path), "--workers", "1"]
    for module in ("analysis.gallery.gallery", "dynamics.sweeps.reproduce"):
        monkeypatch.setattr(f"{module}.FIGURES", {name: FIGURES[name] for name in PAPER_FIGURES})
    assert cli.run(arguments) == 0
    first = capsys.readouterr().out
    figures = tmp_path / "figures"
    assert {path.stem for path in figures.glob("*.png")} >= PAPER_FIGURES
    assert {path.stem for path in figures.glob("*.json")} >= PAPER_FIGURES
    for table in ("accuracy", "parameters"):
        assert pd.read_csv(figures / f"{table}.csv")["norm"].is_unique
    for run_id in tiny_experiment.runs():
        assert f"{run_id} begins" in first
    for accuracy in results(str(tmp_path), tiny_experiment.runs(), settings=["norm"])["best accuracy"]:
        assert f"{accuracy:.2%}" in first
    assert str(figures / "mean_drift.png") in first


@pytest.mark.usefixtures("no_drawing", "tiny_experiment")
def test_reproduce_does_not_train_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", "--store", str(tmp_path), "--workers", "1"]
    assert cli.run(arguments) == 0
    capsys.readouterr()
    assert cli.run(arguments) == 0
    again = capsys.readouterr().out
    assert "begins" not in again
    assert again.count("is finished") == 3
    assert "--overwrite" in again


@pytest.mark.usefixtures("no_drawing")
def test_reproduce_goes_on_with_a_run_that_stopped(tiny_experiment: Experiment, tmp_path: Path) -> None:
    name, config = next(iter(tiny_experiment.runs().items()))

    def stop(_event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path, name=name, watch=stop)
    assert cli.run(["reproduce", "--store", str(tmp_path), "--workers", "1"]) == 0
    steps = pd.read_parquet(tmp_path / "steps", filters=[("run", "==", name), ("split", "==", "train")])
    assert sorted(steps["step"]) == list(range(8))


def test_reproduce_does_not_write_over_a_run_with_other_settings(
    tiny_experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, config = next(iter(tiny_experiment.runs().items()))
    run(RunConfig(**config.to_dict() | {"batch_size": 32}), store=tmp_path, name=name)
    assert cli.run(["reproduce", "--store", str(tmp_path)]) == 2
    assert f"holds a run '{name}' with batch_size 32, not 16: name another store" in capsys.readouterr().err


def test_results_are_those_in_the_store(tiny_experiment: Experiment, tmp_path: Path) -> None:
    name, config = next(iter(tiny_experiment.runs().items()))
    run(config, store=tmp_path, name=name)
    steps = pd.read_parquet(tmp_path / "steps")
    tests = steps[steps["split"] == "test"].sort_values("step")
    row = results(str(tmp_path), {name: config}, settings=["norm", "learning_rate"]).iloc[0]
    assert row["best accuracy"] == tests["accuracy"].max()
    assert row["last accuracy"] == tests["accuracy"].iloc[-1]
    assert (row["norm"], row["learning_rate"], row["steps"]) == ("bn", 0.001, 8)
    assert row["parameters"] == (
        (1 * 25 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 16 + 1) * 32 + (32 * 36 + 1) * 4 + 2 * 80
    )  # three convolutions, a classifier of four classes on 6x6 pixels, and batch norm's gamma and beta


@pytest.mark.parametrize("command", ["reproduce", "sweep", "train"])
def test_a_store_that_is_a_file_is_told(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert cli.run([command, "--store", str(tmp_path / "file")]) == 2
    assert "is a file: expected a folder, or a path where one can be made" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_the_gan_experiment_runs_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = GanConfig(
        width=2, batch_size=8, steps=4, every=1, sample_every=2, score_every=4, draws=1, draw_images=32,
        reference_images=100, device="cpu",
    )  # fmt: skip
    monkeypatch.setitem(EXPERIMENTS, "gan-cifar10", GanExperiment("tiny", small, quick={}))
    assert cli.run(["reproduce", "--experiment", "gan-cifar10", "--store", str(tmp_path), "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert "gan-mnist-subset-msn-softplus-s0 begins: 4 steps" in output
    assert "step 4/4: is_cnn_mnist_subset" in output
    assert "tiny" in output
    assert set(pd.read_parquet(tmp_path / "layers")["run"].unique()) == set(EXPERIMENTS["gan-cifar10"].runs())
