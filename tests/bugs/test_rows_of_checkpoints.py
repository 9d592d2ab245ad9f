"""Rows around a checkpoint: a run that goes on has each once, at its own step and learning rate.

Sources: Lightning-AI/pytorch-lightning#12274 and #13163 (steps of logged numbers after a resume);
huggingface/transformers#28124 and #35942 (the logged learning rate is that of the next step).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from probes import Probe

STEPS, SAVED = 6, 3


def train(store, checkpoint, *, dies=""):
    """Train, evaluate after each step, and save a checkpoint after the third; die before or after the next step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    saved = torch.load(checkpoint) if checkpoint.exists() else {"step": 0, "decay": decay.state_dict()}
    decay.load_state_dict(saved["decay"])
    optimizer.param_groups[0]["lr"] = decay.get_last_lr()[0]
    with Probe(model, optimizer, store=store, run="a", every=1, resume="auto", resume_step=saved["step"]) as probe:
        probe.load_state_dict(saved.get("probe", {}))
        for step in range(saved["step"], STEPS):
            loss = model(torch.ones(3, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
            probe.log(loss=step)
            probe.log(split="test", loss=-step)
            if step + 1 == SAVED and "probe" not in saved:
                torch.save({"step": SAVED, "probe": probe.state_dict(), "decay": decay.state_dict()}, checkpoint)
                if dies == "at once":
                    os.kill(os.getpid(), signal.SIGKILL)
            if step == SAVED and dies == "a step later":
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("dies", ["at once", "a step later"])
def test_a_run_killed_after_its_checkpoint_keeps_what_was_logged_before_it(dies, store, table, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    program = (
        "from pathlib import Path; from tests.bugs.test_rows_of_checkpoints import train; "
        f"train(Path({str(store)!r}), Path({str(checkpoint)!r}), dies={dies!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    train(store, checkpoint)
    steps = table("steps").astype({"split": str}).sort_values(["split", "step"])
    assert steps[["split", "step", "loss"]].to_numpy().tolist() == [
        *(["test", step + 1, -step] for step in range(STEPS)),
        *(["train", step, step] for step in range(STEPS)),
    ]
    assert steps["lr"].dropna().tolist() == [0.5**step for step in range(STEPS)]
    assert sorted(table("layers")["step"]) == list(range(STEPS))


def test_a_run_that_goes_back_in_the_same_process_has_each_row_once(store, table):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(probe, number):
        model(torch.ones(3, 4)).square().mean().backward()
        optimizer.step()
        probe.log(loss=number)
        probe.log(split="test", loss=-number)

    with Probe(model, optimizer, store=store, run="a", every=1) as probe:
        step(probe, 0)
        state = probe.state_dict()
        step(probe, 100)
        probe.load_state_dict(state)
        step(probe, 1)
    steps = table("steps").astype({"split": str}).sort_values(["split", "step"])
    assert steps[["step", "loss"]].to_numpy().tolist() == [[1, 0], [2, -1], [0, 0], [1, 1]]


def test_the_learning_rate_of_a_step_is_the_one_that_it_was_made_with(store, table):
    model = nn.Linear(4, 1)
    rate = torch.tensor(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with Probe(model, optimizer, store=store, run="a", every=2) as probe:
        for step in range(4):
            model(torch.ones(3, 4)).square().mean().backward()
            optimizer.step()
            rate.mul_(0.5)  # as a scheduler does, between the step and the log
            probe.log(loss=step)
    assert table("steps").sort_values("step")["lr"].tolist() == [1, 0.5, 0.25, 0.125]


def test_a_run_that_begins_from_the_state_of_another_has_only_its_own_rows(store, table):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = {}
    for run in ("a", "b"):
        with Probe(model, optimizer, store=store, run=run, every=1) as probe:
            probe.load_state_dict(state)
            model(torch.ones(3, 4)).square().mean().backward()
            optimizer.step()
            probe.log(loss=0)
            probe.log(split="test", loss=0)
            state = probe.state_dict()
    steps = table("steps", run="b").astype({"split": str})
    assert sorted(steps[["split", "step"]].to_numpy().tolist()) == [["test", 2], ["train", 1]]
