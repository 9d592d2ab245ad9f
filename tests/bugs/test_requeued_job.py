"""A job that its scheduler starts again and again: one call begins its run or goes on with it, and no step comes twice.

Sources: ray-project/ray#48664 and #41668; facebookresearch/fairchem PR #777; neptune-ai/neptune-client-scale#260;
wandb/wandb#3846.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

from probes import Probe, Recorder
from probes.metrics import metric
from probes.schema import Column
from probes.storage.files import open_store
from probes.storage.verify import verify

STEPS, EACH = 12, 4  # steps of the whole training; a checkpoint after every fourth


def train(folder: Path, how: str, deaths: list[tuple[int, str]]) -> None:
    """Train as a job does that may be killed at any point; ``deaths`` says at which step and where this attempt is."""
    torch.manual_seed(0)
    checkpoint = folder / "checkpoint.pt"
    saved = torch.load(checkpoint) if checkpoint.exists() else {"step": 0}

    def reach(step: int, place: str) -> None:
        if (step, place) in deaths:
            os.kill(os.getpid(), 9)

    reach(saved["step"], "before the probe")
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options: dict[str, Any] = {"resume_step": saved["step"]}
    if how != "step":
        options["resume"] = "auto"
    if how == "state" and "probe" in saved:
        del options["resume_step"]  # the state says it
    with Probe(model, optimizer, store=folder / "runs", run="job", every=1, **options) as probe:
        reach(saved["step"], "after the probe")
        if how == "state" and "probe" in saved:
            probe.load_state_dict(saved["probe"])
        reach(saved["step"], "after the state")
        for step in range(saved["step"], STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 4)).square().mean()
            loss.backward()
            reach(step, "before the update")
            optimizer.step()
            probe.log(loss=loss)
            reach(step, "after the update")
            if (step + 1) % EACH == 0:
                partial = checkpoint.with_suffix(".partial")
                torch.save({"step": step + 1, "probe": probe.state_dict()}, partial)
                reach(step, "before the checkpoint")
                partial.replace(checkpoint)
                probe.log(split="test", accuracy=0.5)
                probe.flush()
                reach(step, "after the checkpoint")
    reach(STEPS, "after the end")


ATTEMPTS: list[list[tuple[int, str]]] = [
    [(0, "before the probe")],
    [(0, "after the probe")],
    [(2, "after the update")],
    [(3, "before the checkpoint")],
    [(4, "before the update")],
    [(4, "after the state")],
    [(7, "after the checkpoint")],
    [(8, "after the probe")],
    [(11, "before the checkpoint")],
    [(11, "after the checkpoint")],
    [(12, "after the end")],
    [],
]


WAYS = ["step", "auto and step", "state"]


def run_attempts(folder: Path) -> None:
    """Start a job of each kind again and again, in forks of this process, which has imported all that they need."""
    import_module("torch._dynamo.config")
    for how in WAYS:
        (folder / how).mkdir()
        for deaths in ATTEMPTS:
            child = os.fork()
            if child == 0:
                train(folder / how, how, deaths)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status == (-9 if deaths else 0), (how, deaths, status)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the jobs in a process of their own, because they fork."""
    folder = tmp_path_factory.mktemp("jobs")
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("how", WAYS)
def test_a_job_killed_at_odd_places_has_each_step_once(how: str, jobs: Path) -> None:
    store = jobs / how / "runs"
    layers, steps = (pd.read_parquet(store / table) for table in ("layers", "steps"))
    assert layers["step"].tolist() == list(range(STEPS))
    assert steps.loc[steps["split"] == "train", "step"].tolist() == list(range(STEPS))
    assert not steps.duplicated(["step", "split"]).any()
    assert verify(open_store(store)).faults == []
    assert pd.read_parquet(store / "runs")["status"].tolist() == ["finished"]


class Training:
    """A training under a probe, of one more step at each call."""

    def __init__(self, store: Path, **how: Any) -> None:
        self.model = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.probe = Probe(self.model, self.optimizer, store=store, run="a", every=1, **how)

    def __call__(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model(torch.randn(4, 3)).square().mean().backward()
            self.optimizer.step()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def steps_of(store: Path, table: str = "layers") -> list[int]:
    return pd.read_parquet(store / table)["step"].tolist()


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ({"resume": "auto"}, [0, 1]),
        ({"resume_step": 0}, [0, 1]),
        ({"resume": "auto", "resume_step": 5}, [5, 6]),
        ({"overwrite": True}, [0, 1]),
        ({}, [0, 1]),
    ],
)
def test_a_run_that_is_not_there_begins(how: dict[str, Any], steps: list[int], store: Path) -> None:
    training = Training(store, **how)
    training(2)
    training.probe.close()
    assert steps_of(store) == steps


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ({"resume": "auto"}, [0, 1, 2, 3, 4]),
        ({"resume_step": 2}, [0, 1, 2, 3]),
        ({"resume": "auto", "resume_step": 2}, [0, 1, 2, 3]),
        ({"resume_step": 0}, [0, 1]),
        ({"overwrite": True}, [0, 1]),
    ],
)
def test_a_run_that_is_there_goes_on(how: dict[str, Any], steps: list[int], store: Path) -> None:
    for settings, count in (({}, 3), (how, 2)):
        training = Training(store, **settings)
        training(count)
        training.probe.close()
    assert steps_of(store) == steps


def test_a_step_of_a_run_that_is_not_there_is_an_error_that_says_how_to_begin_it(store: Path) -> None:
    with pytest.raises(ValueError, match=r"'a' is not in store .* cannot go on at step 4.* resume='auto'"):
        Training(store, resume_step=4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"resume": "must"}, "resume='must': expected 'auto'"),
        ({"resume": True}, "resume=True: expected 'auto'"),
        ({"resume": "auto", "overwrite": True}, "overwrite deletes the run that resume goes on with"),
        ({"resume": "auto", "resume_step": -1}, "step -1: expected the number of optimizer steps finished"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(how: dict[str, Any], message: str, store: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Training(store, **how)
    assert not store.exists()


def row(step: int, split: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"step": step, "split": split, "loss": 1.0}])


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        ([], 0),
        ([(0, "train")], 1),
        ([(0, "train"), (1, "train"), (2, "test")], 2),  # evaluated when two steps were finished
        ([(200, "train"), (240, "test")], 240),  # recorded seldom, evaluated later
        ([(0, "test")], 0),
    ],
)
def test_the_step_after_the_last_recorded_one_is_told_from_the_rows(rows: list[Any], step: int, store: Path) -> None:
    recorder = Recorder(store, "a")
    for arguments in rows:
        recorder.write("steps", row(*arguments))
    recorder._owner.forget()  # as a kill leaves it: the rows are in the log alone
    with Recorder(store, "a", resume="auto") as again:
        assert again.step == step


def test_a_state_that_is_loaded_later_supersedes_the_steps_after_it(store: Path) -> None:
    first = Training(store)
    first(2)
    state = first.probe.state_dict()
    first(3)
    first.probe.close()
    again = Training(store, resume="auto")
    assert steps_of(store) == [0, 1, 2, 3, 4]  # nothing is deleted before the state says so
    again.probe.load_state_dict(state)
    again(1)
    again.probe.close()
    assert steps_of(store) == steps_of(store, "steps") == [0, 1, 2]


def test_a_state_of_the_present_step_loses_no_row(store: Path) -> None:
    training = Training(store)
    training(2)
    training.probe.load_state_dict(training.probe.state_dict())
    training(1)
    training.probe.close()
    assert steps_of(store) == steps_of(store, "steps") == [0, 1, 2]


@metric(reads="weight", columns=[Column("broken", "1", "none")])
def broken(_weights: Any) -> Any:
    raise ArithmeticError("no such number")


def test_gaps_of_before_stay_in_the_row(store: Path) -> None:
    first = Training(store, metrics=["weights", broken])
    with pytest.warns(RuntimeWarning, match="broken of layer .* could not be recorded at step 0"):
        first(2)
    first.probe.close()
    again = Training(store, metrics=["weights"], resume="auto")
    again.probe._gaps.note(what="something else", why="now")
    again(1)
    again.probe.close()
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
    assert [gap["what"] for gap in gaps] == ["broken", "something else"]
    Training(store, metrics=["weights"], resume_step=0).probe.close()
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
    assert [gap["what"] for gap in gaps] == ["something else"]  # a fact of no step; that of step 0 may not come again


def test_the_last_step_of_a_run_that_begins_again_is_not_that_of_before(store: Path) -> None:
    with Recorder(store, "a") as recorder:
        recorder.write("steps", row(7, "train"))
    with Recorder(store, "a", resume_step=0):
        pass
    assert pd.read_parquet(store / "runs")["last_step"].isna().all()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_attempts(Path(sys.argv[1]))
