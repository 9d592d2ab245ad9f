"""Plans: the arms that they name, the time that they take, and those that ship."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dynamics.classifier.config import RunConfig
from dynamics.cli import run as command_line
from dynamics.norms import NORMS
from dynamics.sweeps.plans.estimate import Estimate, Speed, estimate_sweep, longest_first
from dynamics.sweeps.plans.plan import load_plan, shipped_plans
from dynamics.sweeps.plans.planned import planned_configs
from dynamics.sweeps.task import Task, task_for
from probes.schema import check_run_id

TEXT = """
title = "two arms"
prefix = "tiny"
seeds = [0, 1]
[base]
batch_size = 16
epochs = 1
bracket_every = 0
{data}
[arms.sn]
norm = "sn"
[arms.msn-half]
norm = "msn"
centring_strength = 0.5
"""


@pytest.fixture
def plan(tmp_path: Path, tiny_data: str) -> str:
    path = tmp_path / "two.toml"
    path.write_text(TEXT.format(data=f'data = "{tiny_data}"'))
    return str(path)


def test_a_plan_is_its_arms_times_its_seeds(plan: str, tiny_data: str) -> None:
    shared = {"data": tiny_data, "batch_size": 16, "epochs": 1, "bracket_every": 0}
    assert load_plan(plan).runs() == {
        "tiny-sn-s0": RunConfig(norm="sn", seed=0, **shared),  # type: ignore[arg-type]
        "tiny-msn-half-s0": RunConfig(norm="msn", centring_strength=0.5, seed=0, **shared),  # type: ignore[arg-type]
        "tiny-sn-s1": RunConfig(norm="sn", seed=1, **shared),  # type: ignore[arg-type]
        "tiny-msn-half-s1": RunConfig(norm="msn", centring_strength=0.5, seed=1, **shared),  # type: ignore[arg-type]
    }


def test_options_go_before_a_plan(plan: str) -> None:
    configs = planned_configs([plan], {"epochs": [3], "seed": [7]})
    assert {(run, config.epochs, config.seed) for run, config in configs.items()} == {
        ("tiny-sn-s7", 3, 7),
        ("tiny-msn-half-s7", 3, 7),
    }
    with pytest.raises(ValueError, match="--plan: epochs has several values"):
        planned_configs([plan], {"epochs": [1, 2]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[arms.sn]", "[arm.sn]"), "unknown keys arm; expected title, prefix, seeds, base, arms"),
        (("[arms.sn]", '[arms."s n"]'), "'s n' cannot be part of a run id"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), r"seeds \[0, 0\]; expected whole numbers, each once"),
        (("seeds = [0, 1]", "seeds = 3"), "seeds is 3; expected a list"),
        (("epochs = 1", "seed = 1"), r"seed cannot be set for an arm; expected seeds = \[...\]"),
        (("epochs = 1", "epochs = ]"), "plan .*two.toml: "),
        (("epochs = 1", f"epochs = {'[' * 50_000}"), "plan .*two.toml: maximum recursion depth"),
        (("epochs = 1", f"epochs = {'9' * 5_000}"), "plan .*two.toml: "),
        (("epochs = 1", "epoch = 1"), "plan two, arm 'sn': unknown settings epoch"),
        (("epochs = 1", "epochs = 0"), "plan two, arm 'sn': epochs 0: expected 1 or more"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_in_a_plan_is_told(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(TEXT.format(data="").replace(*change))
    with pytest.raises(ValueError, match=message):
        load_plan(str(path)).runs()


def test_a_plan_that_is_not_there_is_answered_with_those_that_ship() -> None:
    with pytest.raises(ValueError, match=r"plan 'c0': no such file; .* one of batch-sizes, c1-forward-backward"):
        load_plan("c0")


@pytest.mark.parametrize("name", shipped_plans())
def test_every_shipped_plan_names_runs_that_can_be_made(name: str) -> None:
    runs = load_plan(name).runs()
    assert len(set(runs.values())) == len(runs)
    for run, config in runs.items():
        assert check_run_id(run)
        assert config.records <= 30
        if not config.channel_mean.startswith("replay"):
            config.intervention.applied(NORMS[config.norm])


def test_the_required_experiment_has_sixty_runs_or_more() -> None:
    from dynamics.sweeps.experiments import EXPERIMENTS

    runs = EXPERIMENTS["causes"].runs()
    assert len(runs) >= 60
    assert sum(run.startswith("vgg7-") and "plateau" not in run for run in runs) == 48
    quick = EXPERIMENTS["causes"].runs(quick=True)
    assert {(config.epochs, config.seed) for config in quick.values()} == {(1, 0)}


def test_all_plans_agree_on_the_runs_that_they_share() -> None:
    configs = planned_configs(shipped_plans(), {})
    assert len(configs) < sum(len(load_plan(name).runs()) for name in shipped_plans())


def tasks(seconds: dict[str, float], seeds: int = 1) -> tuple[list[Task], Estimate]:
    found = [Task(f"{arm}-s{seed}", RunConfig(seed=seed)) for seed in range(seeds) for arm in seconds]
    times = {task.run: seconds[task.run.rpartition("-s")[0]] for task in found}
    return found, Estimate(times, dict.fromkeys(times, Speed(0.1, 0.0, "timed")))


def test_the_longest_of_a_seed_comes_first_and_whole_seeds_come_first() -> None:
    todo, estimate = tasks({"a": 1, "b": 3, "c": 2}, seeds=2)
    assert [task.run for task in longest_first(todo, estimate)] == ["b-s0", "c-s0", "a-s0", "b-s1", "c-s1", "a-s1"]


def test_the_wall_clock_is_that_of_cores_which_take_the_next_run_when_they_are_free() -> None:
    _, estimate = tasks({"a": 5, "b": 4, "c": 3, "d": 3})
    assert estimate.wall_clock(cores=1) == 15
    assert estimate.wall_clock(cores=2) == 8  # 5 + 3, 4 + 3
    assert estimate.wall_clock(cores=9) == 5


def test_no_core_idles_for_longer_than_the_shortest_run_of_the_last_seed() -> None:
    todo, estimate = tasks({f"arm{i}": 10 + i for i in range(16)}, seeds=3)
    ordered = {task.run: estimate.seconds[task.run] for task in longest_first(todo, estimate)}
    balanced = Estimate(ordered, estimate.speeds)
    for cores in (2, 4):
        assert balanced.wall_clock(cores=cores) - sum(ordered.values()) / cores <= 10
    assert all(a >= b for a, b in pairwise(list(ordered.values())[-16:]))


def test_an_estimate_counts_what_is_left(plan: str, tmp_path: Path) -> None:
    configs = planned_configs([plan], {})
    todo = [task_for(tmp_path / "runs", run, config) for run, config in configs.items()]
    todo[0] = replace(todo[0], done=True)
    todo[2] = replace(todo[2], resume=True, last_step=3)
    found = estimate_sweep(todo, store=tmp_path / "runs")
    assert list(found.seconds) == [task.run for task in todo[1:]]
    speed = found.speeds["tiny-sn-s1"]
    assert found.speeds["tiny-msn-half-s0"] is found.speeds["tiny-msn-half-s1"]  # timed once an arm
    whole = speed.seconds(configs["tiny-sn-s1"], steps=4, evaluated=84)
    assert found.seconds["tiny-sn-s1"] == pytest.approx(whole - 3 * speed.step)


def test_a_plan_is_trained_from_the_command_line_and_a_second_time_left(
    plan: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "runs")
    arguments: list[Any] = ["sweep", "--plan", plan, "--store", store, "--seed", "0", "--threads", "1"]
    assert command_line([*arguments, "--estimate"]) == 0
    said = capfd.readouterr().out
    assert "2 of 2 runs left" in said
    assert not (tmp_path / "runs").exists()
    assert command_line(arguments) == 0
    capfd.readouterr()
    assert command_line([*arguments[:-4], "--seed", "0,1", "--estimate"]) == 0
    said = capfd.readouterr().out
    assert "2 of 4 runs left" in said
    assert "tiny-sn-s0" in said  # the speed of the other seed is that of the stored run
    assert command_line(["sweep", "--estimate"]) == 2
    assert command_line([*arguments, "--protocol", "paper"]) == 2
