"""A training whose steps the probe does not see says so: never zero rows, status "finished", and no word."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from probes import Probe


def train(model, optimizer, steps=4):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()


def test_parameters_that_move_by_another_optimizer_are_told_at_once(store, gaps):
    model = nn.Linear(4, 1)
    given, used = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    probe = Probe(model, given, store=store, run="a", every=1)
    with pytest.warns(RuntimeWarning, match="the parameters have moved and no step was seen"):
        train(model, used, steps=3)
    probe.close()
    assert [gap["what"] for gap in gaps()] == ["optimizer steps"]


def test_a_run_without_any_step_says_so_when_it_is_closed(store, gaps):
    model = nn.Linear(4, 1)
    other = copy.deepcopy(model)
    with pytest.warns(RuntimeWarning, match="the optimizer holds none of the model"):
        probe = Probe(model, torch.optim.SGD(other.parameters(), lr=0.1), store=store, run="a", every=1)
    for _ in range(3):
        model(torch.randn(5, 4)).square().mean().backward()
        model.weight.data = model.weight.data - 0.1  # what torch does not count
    with pytest.warns(RuntimeWarning, match="none was seen in 3 training passes"):
        probe.close()
    assert "call probe.step()" in gaps()[-1]["why"]


def test_accumulation_and_evaluation_raise_no_alarm(store, gaps):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1):
        for _ in range(4):
            model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        model.eval()
        for _ in range(3):
            model(torch.randn(5, 4))
    assert gaps() == []


def update_and_free(p):
    p.data.sub_(p.grad, alpha=0.1)
    p.grad = None


def test_gradients_that_are_gone_before_the_step_are_a_gap(store, gaps, table):
    model = nn.Linear(4, 1)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(update_and_free)
    with Probe(model, store=store, run="a", every=1) as probe:
        for step in range(2):
            model(torch.randn(5, 4)).square().mean().backward()
            with pytest.warns(RuntimeWarning, match="no parameter had a gradient") if step == 0 else nullcontext():
                probe.step()
    assert [gap["what"] for gap in gaps()] == ["gradients"]
    assert table("layers")["weight_l2_norm"].notna().all()
