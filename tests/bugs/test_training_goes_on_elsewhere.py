"""A loop that goes on with another model and optimizer, after peft's ``merge_and_unload()`` say, and logs its loss."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from probes import Probe


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
    return loss


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(4, 4)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_numbers_that_replace_each_other_after_the_last_step_are_told_once(store, gaps):
    model, optimizer = fresh()
    with Probe(model, optimizer, store=store, run="a") as probe:
        for _ in range(3):
            probe.log(loss=step_of(model, optimizer))
        model, optimizer = fresh()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(2):
                probe.log(loss=step_of(model, optimizer))
        with pytest.warns(RuntimeWarning, match=r"logged more than 3 times after step 2 .* this probe was not given"):
            probe.log(loss=step_of(model, optimizer))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            probe.log(loss=step_of(model, optimizer))
    assert [(gap["what"], gap["step"]) for gap in gaps()] == [("logged numbers (loss)", 2)]


@pytest.mark.filterwarnings("error")
def test_nothing_is_told_of_many_names_nor_of_micro_batches_nor_of_evaluations(store, gaps):
    model, optimizer = fresh()
    with Probe(model, optimizer, store=store, run="a") as probe:
        for _ in range(4):
            for name in ("loss", "accuracy", "margin", "entropy", "norm"):
                probe.log(**{name: 1.0})  # each fills in the learning rate
            for _ in range(5):
                loss = model(torch.randn(8, 4)).square().mean()
                loss.backward()
                probe.log(loss=loss)
            optimizer.step()
            for _ in range(5):
                probe.log(split="test", loss=1.0)
    assert gaps() == []
