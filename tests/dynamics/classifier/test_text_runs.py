"""Runs on text: `meandrift train --model transformer --data text:PATH` is a run like every other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dynamics import cli
from dynamics.classifier.config import RunConfig
from dynamics.classifier.config_sources import stored_config
from dynamics.classifier.dataset import evaluation_batches
from dynamics.classifier.evaluation import evaluate
from dynamics.classifier.network import OF_IMAGES, OF_SEQUENCES
from dynamics.classifier.run import run
from dynamics.classifier.setup import set_up
from dynamics.norms.sequence_norms import SEQUENCE_NORMS
from dynamics.runtime.events import Event, Stepped
from dynamics.sweeps.plans.estimate import estimate_sweep
from dynamics.sweeps.task import task_for

TEXT = ("--model", "transformer", "--data", "{text}", "--context", "8")
SMALL = {"width": 8, "depth": 1, "context": 8}


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a text of 600 characters that repeats."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text("the cat sat on the mat. " * 25, encoding="utf-8")
    return f"text:{path}"


@pytest.fixture
def config(tiny_text: str) -> RunConfig:
    """Return a run of two epochs of four steps: 540 characters to learn from are 66 windows."""
    return RunConfig(model="transformer", norm="msn", data=tiny_text, batch_size=16, epochs=2, every=1, **SMALL)


def table(store: Path, name: str, run_id: str) -> pd.DataFrame:
    rows = pd.read_parquet(store / name / f"run={run_id}").drop(columns="seconds", errors="ignore")
    order = [key for key in ("step", "split", "layer_index", "tensor", "channel") if key in rows]
    return rows.sort_values(order, kind="stable").reset_index(drop=True)


def assert_same_run(store: Path, first: str, second: str) -> None:
    for name in ("layers", "steps", "channels", "spectra"):
        pd.testing.assert_frame_equal(table(store, name, first), table(store, name, second), check_exact=True)


def test_the_test_is_on_the_held_out_part_in_bits_per_character(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="whole")
    steps = table(tmp_path, "steps", "whole")
    tests = steps[steps["split"] == "test"]
    assert tests["step"].tolist() == [4, 8]
    np.testing.assert_allclose(tests["bits_per_character"], tests["loss"] / math.log(2))
    assert tests["accuracy"].between(0, 1).all()
    assert steps.loc[steps["split"] == "train", "bits_per_character"].isna().all()


def test_loss_and_accuracy_are_means_over_characters(config: RunConfig) -> None:
    setup = set_up(config)
    found = evaluate(setup.model, evaluation_batches(setup.data, batch_size=3))  # 7 windows of 60 characters: 3, 3, 1
    losses, right = [], []
    with torch.no_grad():
        for place in range(0, 56, 8):
            window = setup.data.test[place : place + 9]  # type: ignore[union-attr]
            logits = setup.model.eval()(window[None, :-1])[0]
            losses += [-logits[i].log_softmax(0)[window[i + 1]].item() for i in range(8)]
            right += [int(logits[i].argmax() == window[i + 1]) for i in range(8)]
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean(right))


def test_a_text_that_repeats_is_learned(config: RunConfig, tmp_path: Path) -> None:
    run(replace(config, epochs=30, learning_rate=0.02, every=1000, norm="ln"), store=tmp_path, name="long")
    steps = table(tmp_path, "steps", "long")
    tests = steps[steps["split"] == "test"]
    assert tests["bits_per_character"].iloc[-1] < 0.6 * tests["bits_per_character"].iloc[0]
    assert tests["accuracy"].iloc[-1] > 0.8


def test_activations_of_sequences_are_recorded_by_default(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="whole")
    layers = table(tmp_path, "layers", "whole").set_index(["step", "layer"])
    last = layers.loc[7]
    for name in ("blocks.0.norm1", "blocks.0.attention", "blocks.0.wide", "readout"):
        assert np.isfinite(
            last.loc[name, ["activation_mean", "activation_rms", "activation_drift"]].astype(float)
        ).all()
    assert last.loc["blocks.0.wide", "spectral_norm"] == pytest.approx(1, abs=0.1)
    assert set(table(tmp_path, "channels", "whole")["nonlinearity"]) == {"gelu"}


def test_one_seed_gives_one_run_and_the_stored_settings_repeat_it(config: RunConfig, tmp_path: Path) -> None:
    run(config, store=tmp_path, name="first")
    assert stored_config(tmp_path, "first") == config
    run(stored_config(tmp_path, "first"), store=tmp_path, name="again")
    assert_same_run(tmp_path, "first", "again")
    run(replace(config, seed=1), store=tmp_path, name="other")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path, "first", "other")


@pytest.mark.parametrize("norm", ["ln", "msn", "wn"])
def test_a_run_that_is_stopped_and_resumed_is_the_run_never_stopped(
    norm: str, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamics.runtime.events.REFRESH_SECONDS", -1.0)
    config = replace(config, norm=norm)

    def stop(event: Event) -> None:
        if isinstance(event, Stepped) and event.steps >= 6:
            raise KeyboardInterrupt

    run(config, store=tmp_path, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, store=tmp_path, name="parted", watch=stop)
    run(config, store=tmp_path, name="parted", resume=True)
    assert_same_run(tmp_path, "whole", "parted")


# The mean of a micro-batch, in msn and wn_mean, is its own.
@pytest.mark.parametrize("norm", sorted({*SEQUENCE_NORMS} - {"msn", "wn_mean"}))
def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(norm: str, config: RunConfig, tmp_path: Path) -> None:
    losses = {}
    for parts in (1, 4):
        run(replace(config, norm=norm, accumulate=parts, epochs=1), store=tmp_path, name=f"in{parts}")
        steps = table(tmp_path, "steps", f"in{parts}")
        losses[parts] = steps.loc[steps["split"] == "train", "loss"].to_numpy()
    rtol = 1e-4 if norm != "sn" else 1e-2  # each micro-batch makes a power iteration
    np.testing.assert_allclose(losses[4], losses[1], rtol=rtol)


def test_the_bounds_of_images_are_told_as_not_measured_and_the_landscape_is(config: RunConfig, tmp_path: Path) -> None:
    run(replace(config, landscape_every=1, epochs=1), store=tmp_path, name="whole")
    [told] = pd.read_parquet(tmp_path / "runs")["config"]
    assert "margin_bound: a change of a character has no length" in told
    steps = table(tmp_path, "steps", "whole")
    tests = steps[steps["split"] == "test"]
    assert tests["hessian_top_eigenvalue"].notna().all()
    assert "margin_bound" not in tests or tests["margin_bound"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "transformer"],
            r"model 'transformer' reads text, and 'mnist-subset' are images: expected --data text",
        ),
        (
            ["--data", "{text}", "--context", "8", "--batch-size", "4"],
            r"model 'cnn3' reads images, and .* is a text: expected --model transformer",
        ),
        (
            ["--model", "transformer", "--data", "text:nowhere.txt"],
            r"data set 'text:nowhere\.txt': there is no such file",
        ),
        ([*TEXT, "--batch-size", "4", "--norm", "bn"], r"norm 'bn' is none of sequences"),
        ([*TEXT, "--batch-size", "4", "--width", "30"], r"width: expected a multiple of the 4 heads"),
        ([*TEXT, "--width", "-4"], r"width -4: expected 0 or more"),
        (
            [*TEXT, "--context", "60"],
            r"held out .*has 60 characters; expected more",
        ),
        ([*TEXT, "--batch-size", "67"], r"batch size 67: expected 1 to 66, the number of windows"),
        ([*TEXT, "--depth", "-1"], r"depth -1: expected 0 or more"),
        (["--width", "32", "--context", "9"], r"width and context: model 'cnn3' has fixed layers"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    arguments: list[str], message: str, tiny_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(text=tiny_text) for word in arguments]
    assert cli.run(["train", *words, "--store", str(tmp_path)]) == cli.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said)
    assert not list(tmp_path.glob("runs/*"))


OTHER = {
    **{"definition": "released", "scope": "released", "activation": "relu", "growth": 4, "centring": "full"},
    **{"centring_strength": 0.5, "centring_momentum": 0.2, "channel_mean": "zero", "channel_scale": "none"},
    **{"sigma": 2.0, "spectral_regularisation": 0.1, "train_images": 3, "augmentation": "crop"},
}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_settings_of_images_are_refused_by_name(name: str, config: RunConfig) -> None:
    with pytest.raises(ValueError, match=f"^{name}: of networks of images alone"):
        set_up(replace(config, **{name: OTHER[name]}))


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_settings_of_sequences_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: model 'cnn3' has fixed layers"):
        set_up(RunConfig(**{name: 8}))


def test_a_sweep_trains_texts_and_its_time_is_estimated(config: RunConfig, tiny_text: str, tmp_path: Path) -> None:
    arguments = [
        "--model",
        "transformer",
        "--data",
        tiny_text,
        "--norm",
        "ln,sn",
        "--batch-size",
        "16",
        "--epochs",
        "1",
    ]
    sizes = ["--width", "8", "--depth", "1", "--context", "8", "--store", str(tmp_path / "runs"), "--workers", "2"]
    assert cli.run(["sweep", *arguments, *sizes]) == 0
    runs = pd.read_parquet(tmp_path / "runs" / "runs")
    assert set(runs["run"].astype(str)) == {f"transformer-tiny-{norm}-lr0.001-s0" for norm in ("ln", "sn")}
    found = estimate_sweep([task_for(tmp_path, "new", config)], store=tmp_path)
    assert found.seconds["new"] > 0


def test_the_shipped_text_gives_a_run_its_name() -> None:
    assert RunConfig(model="transformer", data="text:").name == "transformer-text-msn-lr0.001-s0"


def test_commands_for_images_refuse_a_run_on_text(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(replace(config, epochs=1), store=tmp_path, name="whole")
    assert cli.run(["deploy", "whole", "--store", str(tmp_path)]) == cli.USAGE
    assert "is a text, and images are needed here" in capsys.readouterr().err
    assert cli.run(["gan", "--data", config.data, "--steps", "1", "--store", str(tmp_path)]) == cli.USAGE
    assert "is a text, and images are needed here" in capsys.readouterr().err
