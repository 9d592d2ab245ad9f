from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynamics.classifier.config import RunConfig
from dynamics.gan.config import GanConfig
from dynamics.sweeps.task import Task, check, task_for
from probes import Recorder


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(epochs=3)


def record(store: Path, config: dict[str, object], *, status: str) -> None:
    with Recorder(store, "bn", config=config) as recorder:
        recorder.close(status)


def test_a_run_that_is_not_there_is_all_to_do(tmp_path: Path, config: RunConfig) -> None:
    assert task_for(tmp_path, "bn", config) == Task("bn", config)
    assert task_for(tmp_path, "bn", config, overwrite=True) == Task("bn", config)


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_stopped_goes_on(tmp_path: Path, config: RunConfig, status: str) -> None:
    record(tmp_path, config.to_dict(), status=status)
    assert task_for(tmp_path, "bn", config) == Task("bn", config, resume=True)


def test_a_finished_run_is_done_unless_more_is_asked(tmp_path: Path, config: RunConfig) -> None:
    record(tmp_path, config.to_dict() | {"parameters": 5}, status="finished")
    assert task_for(tmp_path, "bn", config) == Task("bn", config, done=True)
    shorter, longer = replace(config, epochs=2), replace(config, epochs=4)
    assert task_for(tmp_path, "bn", shorter).done
    assert task_for(tmp_path, "bn", longer) == Task("bn", longer, resume=True)
    assert task_for(tmp_path, "bn", config, overwrite=True) == Task("bn", config, overwrite=True)


def test_what_observes_may_differ_and_what_trains_may_not(tmp_path: Path, config: RunConfig) -> None:
    record(tmp_path, config.to_dict(), status="finished")
    assert task_for(tmp_path, "bn", replace(config, every=7)).done
    with pytest.raises(ValueError, match="holds a run 'bn' with seed 0, not 1: name another store, or delete"):
        task_for(tmp_path, "bn", replace(config, seed=1))


def test_a_setting_that_an_older_version_did_not_have_has_its_default(tmp_path: Path, config: RunConfig) -> None:
    older = {name: value for name, value in config.to_dict().items() if name not in {"centring", "schedule"}}
    record(tmp_path, older, status="finished")
    assert task_for(tmp_path, "bn", config).done
    with pytest.raises(ValueError, match="holds a run 'bn' with centring 'own', not 'none'"):
        task_for(tmp_path, "bn", replace(config, centring="none"))


def test_a_run_of_another_program_is_told_in_few_words(tmp_path: Path, config: RunConfig) -> None:
    record(tmp_path, {}, status="finished")
    with pytest.raises(ValueError, match=r"with accumulate None, not 1; .* and \d+ more: name another store"):
        task_for(tmp_path, "bn", config)


def test_a_gan_is_as_long_as_its_steps_and_told_by_its_own_settings(tmp_path: Path) -> None:
    config = GanConfig(steps=4, width=2)
    record(tmp_path, config.to_dict(), status="finished")
    assert task_for(tmp_path, "bn", config).done
    assert task_for(tmp_path, "bn", replace(config, steps=3, score_every=7)).done
    assert task_for(tmp_path, "bn", replace(config, steps=8)).resume
    with pytest.raises(ValueError, match="holds a run 'bn' with width 2, not 4: name another store"):
        task_for(tmp_path, "bn", replace(config, width=4))


def test_tasks_of_every_kind_are_checked_and_those_that_are_done_are_not() -> None:
    check([Task("a", RunConfig(model="cnn4"), done=True), Task("b", RunConfig()), Task("c", GanConfig())])
    for config, message in ((RunConfig(model="cnn4"), "no model 'cnn4'"), (GanConfig(device="tpu9"), "device 'tpu9'")):
        with pytest.raises(ValueError, match=message):
            check([Task("b", RunConfig()), Task("d", config)])
