"""A notebook cell that makes a probe is run a second time: the run's writer is the first probe, in the same process.

Source: jupyter/notebook#2988.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import analysis
from probes import Probe


class Cell:
    """A training in a notebook: a new model and a new probe at each run of the cell, and no ``close``."""

    def __init__(self, store: Path | str) -> None:
        self.store = store

    def __call__(self, steps: int, *, run: str = "demo", **how: Any) -> Probe:
        self.model = nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.probe = Probe(self.model, self.optimizer, store=self.store, run=run, every=1, **how)
        self.train(steps)
        self.probe.flush()
        return self.probe

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model(torch.randn(5, 4)).square().mean().backward()
            self.optimizer.step()


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return Cell(tmp_path / "runs")


def steps_of(store: Path | str, run: str = "demo") -> list[int]:
    rows = pd.read_parquet(Path(store) / "layers", filters=[("run", "==", run)])
    return sorted(rows["step"])


def hooks_on(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_overwrite_takes_the_run_from_the_first_probe(cell: Cell) -> None:
    first, model = cell(3, overwrite=True), cell.model
    assert hooks_on(model)
    second = cell(5, overwrite=True)
    assert hooks_on(model) == 0
    first.log(loss=1.0)  # the old variable may still be used: nothing comes of it
    first.close()
    second.close()
    assert steps_of(cell.store) == [0, 1, 2, 3, 4]
    assert analysis.runs(cell.store)["status"].tolist() == ["finished"]


@pytest.mark.parametrize("how", [{"resume": "auto"}, {"resume_step": 3}], ids=["auto", "step"])
def test_resume_goes_on_with_the_run_of_the_first_probe(cell: Cell, how: dict[str, Any]) -> None:
    cell(3)
    cell(2, **how).close()
    assert steps_of(cell.store) == [0, 1, 2, 3, 4]


def test_without_either_the_error_says_who_writes_and_what_to_do(cell: Cell) -> None:
    first = cell(2)
    with pytest.raises(ValueError, match=r"which is this very process: close its probe first \(probe\.close\(\)\)"):
        cell(2)
    cell.train(1)
    first.close()
    assert steps_of(cell.store) == [0, 1]  # the second cell has made another model


def test_the_run_is_known_by_every_name_of_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alias").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    names = ["runs", tmp_path / "runs", tmp_path / "alias" / "runs", (tmp_path / "runs").as_uri(), "./runs/"]
    for number, name in enumerate(names, start=1):
        probe = Cell(name)(number, overwrite=True)
    probe.close()
    assert steps_of(tmp_path / "runs") == list(range(len(names)))


def test_probes_of_different_runs_leave_each_other_alone(cell: Cell, tmp_path: Path) -> None:
    first, train = cell(1, run="a", overwrite=True), cell.train
    model, optimizer = cell.model, cell.optimizer
    other = Cell(tmp_path / "elsewhere")
    other(2, run="a", overwrite=True)
    cell(3, run="b", overwrite=True).close()
    cell.model, cell.optimizer = model, optimizer
    train(1)
    first.close()
    other.probe.close()
    assert (steps_of(cell.store, "a"), steps_of(cell.store, "b")) == ([0, 1], [0, 1, 2])
    assert steps_of(other.store, "a") == [0, 1]


def test_a_probe_that_was_freed_with_its_model_gives_its_run_back(cell: Cell) -> None:
    cell(3, overwrite=True)
    del cell.probe, cell.model, cell.optimizer
    gc.collect()
    cell(2, overwrite=True).close()
    assert steps_of(cell.store) == [0, 1]


def test_the_rows_of_a_freed_probe_stay(cell: Cell) -> None:
    cell(3, metrics=["weights"])  # without hooks on parameters, which torch cannot free together with them
    del cell.probe, cell.model, cell.optimizer
    gc.collect()
    cell(1, run="another").close()  # any new probe closes it
    assert steps_of(cell.store) == [0, 1, 2]
    assert analysis.runs(cell.store).set_index("run")["status"].to_dict() == {
        "demo": "interrupted",
        "another": "finished",
    }


def test_a_closed_probe_is_not_closed_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cell(2)
    first.close()
    monkeypatch.setattr(first, "close", pytest.fail)
    cell(3, overwrite=True).close()
    assert steps_of(cell.store) == [0, 1, 2]


def in_child(work: Callable[[], None]) -> int:
    """Do something in a forked child; return its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_take_the_run_of_its_parent(cell: Cell) -> None:
    probe = cell(2)

    def take() -> None:
        with pytest.raises(
            ValueError, match=f"is being written by process {os.getppid()} on [^,]*, since [^,]*: choose"
        ):
            cell(1, overwrite=True)

    assert in_child(take) == 0
    probe.close()
    assert steps_of(cell.store) == [0, 1]
    assert analysis.runs(cell.store)["status"].tolist() == ["finished"]
