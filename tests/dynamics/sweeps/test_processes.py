from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamics.classifier.config import RunConfig
from dynamics.runtime.events import Began, Ended, Event, Failed, Noted, Stepped
from dynamics.runtime.stored_run import stored_run
from dynamics.sweeps.grid import grid
from dynamics.sweeps.processes import first_round, sweep
from dynamics.sweeps.task import Task, task_for
from probes import Recorder


def tasks(store: Path, data: str, **axes: list[object]) -> list[Task]:
    base = RunConfig(data=data, batch_size=16, epochs=2, every=1)
    return [task_for(store, run, config) for run, config in grid(base, axes).items()]


def statuses(store: Path, todo: list[Task]) -> list[str | None]:
    found = [stored_run(store, task.run) for task in todo]
    return [one and one.status for one in found]


def test_runs_side_by_side_all_end_and_one_that_fails_does_not_hold_up_the_others(
    tiny_data: str, tmp_path: Path
) -> None:
    todo = tasks(tmp_path, tiny_data, norm=["bn", "no-such-norm", "sn"])
    events: list[Event] = []
    ends = sweep(todo, store=tmp_path, workers=2, watch=events.append)
    assert [type(end) for end in ends] == [Ended, Failed, Ended]
    assert "no norm 'no-such-norm'" in ends[1].reason  # type: ignore[union-attr]
    assert statuses(tmp_path, todo) == ["finished", None, "finished"]
    assert {event.run for event in events if isinstance(event, Began)} == {todo[0].run, todo[2].run}
    assert all(task.done for task in tasks(tmp_path, tiny_data, norm=["bn", "sn"]))


def test_each_process_trains_what_one_process_trains(tiny_data: str, tmp_path: Path) -> None:
    from dynamics.classifier.run import run

    todo = tasks(tmp_path / "side", tiny_data, norm=["msn"])
    sweep(todo, store=tmp_path / "side", workers=1)
    run(todo[0].config, store=tmp_path / "here", name=todo[0].run)
    side, here = (pd.read_parquet(tmp_path / store / "layers") for store in ("side", "here"))
    pd.testing.assert_frame_equal(side, here, check_exact=True)


def test_a_run_that_another_sweep_finished_meanwhile_is_left_as_it_is(tiny_data: str, tmp_path: Path) -> None:
    todo = tasks(tmp_path, tiny_data, norm=["bn"])
    sweep(todo, store=tmp_path, workers=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    events: list[Event] = []
    assert not todo[0].done  # it was not when this sweep was planned
    (end,) = sweep(todo, store=tmp_path, workers=1, watch=events.append)
    steps = stored_run(tmp_path, todo[0].run).last_step  # type: ignore[union-attr]
    assert events == [Noted(todo[0].run, "was finished by another sweep in the meantime"), end]
    assert end == Ended(todo[0].run, steps, 0.0, False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_a_run_that_another_sweep_is_writing_is_left_to_it(tiny_data: str, tmp_path: Path) -> None:
    todo = tasks(tmp_path, tiny_data, norm=["bn", "sn"])
    with Recorder(tmp_path, todo[0].run, config=todo[0].config.to_dict()):
        ends = sweep(todo, store=tmp_path, workers=1)
    assert [type(end) for end in ends] == [Failed, Ended]
    assert "is being written by" in ends[0].reason  # type: ignore[union-attr]
    assert "--resume" not in ends[0].reason  # type: ignore[union-attr] - a sweep has no such option


def test_a_killed_process_fails_its_run_alone_and_the_run_resumes(tiny_data: str, tmp_path: Path) -> None:
    import multiprocessing

    todo = tasks(tmp_path, tiny_data, norm=["bn", "sn"])
    endless = replace(todo[0], config=replace(todo[0].config, epochs=10_000))  # else it might end before it is killed

    def kill_first(event: Event) -> None:
        if isinstance(event, Began) and event.run == todo[0].run:
            child = next(child for child in multiprocessing.active_children() if child.name == todo[0].run)
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)

    ends = sweep([endless, todo[1]], store=tmp_path, workers=2, watch=kill_first)
    assert ends[0] == Failed(todo[0].run, "its process ended with status -9")
    assert isinstance(ends[1], Ended)
    again = tasks(tmp_path, tiny_data, norm=["bn", "sn"])
    assert [task.resume for task in again] == [True, False]
    assert [type(end) for end in sweep(again, store=tmp_path)] == [Ended]
    assert statuses(tmp_path, todo) == ["finished", "finished"]


@pytest.mark.parametrize(("workers", "at_once"), [(2, 2), (0, 3)])
def test_ctrl_c_stops_every_run_that_trains_with_a_checkpoint(
    workers: int, at_once: int, tiny_data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the three runs ends by itself, so that as many as train at once are all that have begun."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    todo = [
        replace(task, config=replace(task.config, epochs=10_000))
        for task in tasks(tmp_path, tiny_data, norm=["bn", "sn", "none"])
    ]
    seen: set[str] = set()
    failed: list[Failed] = []

    def interrupt_once_all_train(event: Event) -> None:
        if isinstance(event, Failed):
            failed.append(event)
        if isinstance(event, Stepped) and len(seen) < at_once:
            seen.add(event.run)
            if len(seen) == at_once:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(todo, store=tmp_path, workers=workers, watch=interrupt_once_all_train)
    assert {(end.run, end.reason) for end in failed} == {(task.run, "interrupted") for task in todo[:at_once]}
    assert statuses(tmp_path, todo) == ["interrupted"] * at_once + [None] * (3 - at_once)
    assert len(list((tmp_path / "_checkpoints").glob("*.pt"))) == at_once


def test_a_rate_that_diverges_is_reported_and_the_sweep_goes_on(tiny_data: str, tmp_path: Path) -> None:
    todo = tasks(tmp_path, tiny_data, norm=["none"], learning_rate=[1e30, 0.001])
    wild, tame = sweep(todo, store=tmp_path, workers=1)
    assert isinstance(wild, Ended)
    assert isinstance(tame, Ended)
    assert (wild.diverged, tame.diverged) == (True, False)
    losses = pd.read_parquet(tmp_path / "steps", filters=[("run", "==", todo[0].run)])["loss"]
    assert not np.isfinite(losses).all()


def test_what_is_there_with_other_settings_is_not_written_over(tiny_data: str, tmp_path: Path) -> None:
    todo = tasks(tmp_path, tiny_data, norm=["none"])
    sweep(todo, store=tmp_path)
    with pytest.raises(
        ValueError, match=r"holds a run 'cnn3-tiny-none-lr0.001-s0' with batch_size 16, not 32: name another"
    ):
        task_for(tmp_path, todo[0].run, RunConfig(norm="none", data=tiny_data, batch_size=32))
    assert task_for(tmp_path, todo[0].run, RunConfig(norm="none", data=tiny_data), overwrite=True).overwrite


@pytest.mark.parametrize(
    ("runs", "cores", "at_first"),
    [(0, 2, 0), (1, 2, 1), (2, 2, 2), (3, 2, 3), (4, 2, 2), (5, 2, 3), (3, 4, 3), (6, 4, 6), (7, 4, 4), (3, 1, 1)],
)
def test_what_would_be_left_for_a_round_of_its_own_shares_the_cores_at_first(
    runs: int, cores: int, at_first: int
) -> None:
    assert first_round(runs, cores=cores) == at_first


@pytest.mark.parametrize("cores", range(1, 9))
def test_sharing_the_first_round_never_ends_later_and_ends_sooner_by_half_a_round_where_it_is_done(cores: int) -> None:
    for runs in range(1, 40):
        first = first_round(runs, cores=cores)
        rounds = max(1, first / cores) + math.ceil((runs - first) / cores)  # in times of one run
        gain = math.ceil(runs / cores) - rounds
        assert gain >= 1 / 2 if first > cores else gain == 0
        assert first <= cores * 3 / 2


def test_a_negative_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers -1: expected 0 or more"):
        sweep([], store=tmp_path, workers=-1)
