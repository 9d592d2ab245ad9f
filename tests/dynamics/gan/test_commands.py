"""``meandrift gan``: what a person types and reads."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dynamics.gan.commands import app

TINY = [
    *("--width", "2", "--steps", "2", "--batch-size", "8", "--every", "1"),
    *("--draw-images", "32", "--reference-images", "50", "--device", "cpu"),
]


def run(*words: str, store: Path) -> str:
    result = CliRunner().invoke(app, [*words, "--store", str(store)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def config_of(store: Path) -> dict:
    import json

    return json.loads(pd.read_parquet(store / "runs")["config"][0])


def test_a_run_tells_its_scores_and_where_it_is(tmp_path: Path) -> None:
    output = run(*TINY, "--extractor", "none", store=tmp_path)
    assert "gan-mnist-subset-sn-softplus-s0 begins: 2 steps" in output
    assert "gan-mnist-subset-sn-softplus-s0 step 0/2: critic_gradient_real" in output
    assert "gan-mnist-subset-sn-softplus-s0: 2 generator steps in" in output
    assert (tmp_path / "samples" / "run=gan-mnist-subset-sn-softplus-s0" / "step-00000002.png").is_file()


def test_the_loss_follows_the_critics_norm(tmp_path: Path) -> None:
    run("--critic-norm", "bn", *TINY, "--steps", "1", "--extractor", "none", store=tmp_path)
    config = config_of(tmp_path)
    assert (config["norm"], config["loss"], config["critic_steps"]) == ("bn", "wasserstein", 5)


def test_loss_and_critic_steps_can_be_chosen(tmp_path: Path) -> None:
    words = ["--loss", "hinge", "--critic-steps", "2", "--critic-norm", "bn", "--run", "mine"]
    run(*words, *TINY, "--steps", "1", "--extractor", "none", store=tmp_path)
    assert (config_of(tmp_path)["loss"], config_of(tmp_path)["critic_steps"]) == ("hinge", 2)
    assert pd.read_parquet(tmp_path / "runs")["run"].tolist() == ["mine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--critic-norm", "batch"], "no norm 'batch': expected one of"),
        (["--loss", "mse"], "no loss 'mse': expected one of softplus, wasserstein, hinge"),
        (["--extractor", "vgg"], "extractor 'vgg': expected one of inception:PATH, resnet20:PATH, trained, none"),
        (["--data", "imagenet"], "data set 'imagenet': expected one of"),
        (["--device", "tpu9"], "device 'tpu9'"),
        (["--run", "../x"], "run id '../x'"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CliRunner().invoke(app, [*TINY, *words, "--store", str(tmp_path / "s")], catch_exceptions=False)
    assert not list((tmp_path / "s").rglob("*.parquet"))


def test_help_lists_every_setting_with_its_default_in_a_panel() -> None:
    from dynamics.gan.config import GanConfig

    text = " ".join(CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--help"]).output.split())
    by_norm = {"loss": "by norm", "critic_steps": "5 for wasserstein, else 1", "ema": "0"}
    for name, value in GanConfig().to_dict().items():
        if name != "model":
            option = "critic-norm" if name == "norm" else name.replace("_", "-")
            assert re.search(rf"--{option} [^│]*Default: {by_norm.get(name, value)}\.", text), name
    for panel in ("Networks", "Data", "Training", "Records and scores", "Store"):
        assert panel in text


def test_importing_the_command_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, dynamics.gan.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert isinstance(app, typer.Typer)
