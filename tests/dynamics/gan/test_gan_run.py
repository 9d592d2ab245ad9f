from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dynamics import cli
from dynamics.gan.config import GanConfig
from dynamics.gan_run import run_gan_watched
from dynamics.runtime.checkpoint import checkpoint_path
from dynamics.runtime.events import Began, Ended, Event, Noted, Stepped
from dynamics.sweeps.experiments import EXPERIMENTS, GanExperiment
from dynamics.sweeps.task import task_for

SMALL = GanConfig(
    width=2, batch_size=8, steps=4, every=1, sample_every=2, score_every=4, draws=1, draw_images=32,
    reference_images=100, device="cpu",
)  # fmt: skip


def test_a_gan_run_tells_its_story_as_any_run_does(tmp_path: Path) -> None:
    events: list[Event] = []
    run_gan_watched(SMALL, store=tmp_path, name="gan", extractor="none", watch=events.append)
    assert events[0] == Began("gan", epochs=0, steps=4, start=0)
    assert [event.steps for event in events if isinstance(event, Stepped)][-1] == 4
    assert isinstance(events[-1], Ended)
    assert task_for(tmp_path, "gan", SMALL).done
    assert not task_for(tmp_path, "gan", replace(SMALL, steps=8)).done


def test_a_gan_run_killed_before_its_first_checkpoint_is_begun_again(tmp_path: Path) -> None:
    run_gan_watched(SMALL, store=tmp_path, name="gan", extractor="none")
    checkpoint_path(tmp_path, "gan").unlink()
    ended = run_gan_watched(SMALL, store=tmp_path, name="gan", extractor="none", resume=True)
    assert ended.steps == 4
    steps = pd.read_parquet(tmp_path / "steps")
    assert not steps.duplicated(["step", "split"]).any()


def test_other_settings_are_told(tmp_path: Path) -> None:
    run_gan_watched(SMALL, store=tmp_path, name="gan", extractor="none")
    with pytest.raises(ValueError, match="holds a run 'gan' with width 2, not 4: name another store"):
        task_for(tmp_path, "gan", replace(SMALL, width=4))


@pytest.mark.slow
def test_the_gan_experiment_runs_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "gan-cifar10", GanExperiment("tiny", SMALL, quick={}))
    assert cli.run(["reproduce", "--experiment", "gan-cifar10", "--store", str(tmp_path), "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert "gan-mnist-subset-msn-softplus-s0 begins: 4 steps" in output
    assert "tiny" in output
    assert set(pd.read_parquet(tmp_path / "layers")["run"].unique()) == set(EXPERIMENTS["gan-cifar10"].runs())


@pytest.mark.slow  # it trains a classifier to score with
def test_scores_are_noted(tmp_path: Path) -> None:
    events: list[Event] = []
    run_gan_watched(SMALL, store=tmp_path, name="gan", extractor="trained", watch=events.append)
    noted = [event.text for event in events if isinstance(event, Noted)]
    assert noted[-1].startswith("step 4/4: ")
    assert "fid" in noted[-1]
