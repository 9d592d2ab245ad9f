"""Which forward passes count, and that each activation counts once."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from probes import Probe

COLUMNS = ["activation_mean", "activation_var", "dead_fraction", "saturated_fraction"]
GRADIENTS = ["activation_grad_var", "activation_grad_sparsity"]


class Blocks(nn.Module):
    def __init__(self, checkpointing=None):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)
        self.checkpointing = checkpointing

    def forward(self, x):
        if self.checkpointing is None:
            return self.head(self.body(x))
        return self.head(checkpoint(self.body, x, use_reentrant=self.checkpointing))


def run(store, name, model, batches, between=lambda _model, _x: None, **how):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run=name, every=1, strict=True, **how):
        for x in batches:
            between(model, x)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()


@pytest.fixture
def pair(store, table):
    """Two runs of equal models on equal batches, the second done differently, and both tables."""

    def compare(other, between=lambda _model, _x: None):
        batches = [torch.randn(5, 6, requires_grad=True) for _ in range(3)]
        plain = Blocks()
        run(store, "plain", copy.deepcopy(plain), batches)
        other.load_state_dict(plain.state_dict())
        run(store, "other", other, batches, between)
        return table("layers", run="plain"), table("layers", run="other")

    return compare


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_count_once(reentrant, pair):
    plain, other = pair(Blocks(checkpointing=reentrant))
    np.testing.assert_allclose(other[COLUMNS], plain[COLUMNS], rtol=1e-6, atol=1e-7)
    head = plain["layer"] == "head"
    np.testing.assert_allclose(other[head][GRADIENTS], plain[head][GRADIENTS], rtol=1e-6)


def test_evaluation_passes_do_not_count(pair):
    def evaluate(model, x):
        model.eval()
        model(x * 100)
        model.train()
        with torch.no_grad():
            model(x * 100)

    plain, other = pair(Blocks(), evaluate)
    np.testing.assert_allclose(other[COLUMNS], plain[COLUMNS])


def test_evaluation_passes_count_when_asked_for(store, table):
    def evaluate(model, x):
        with torch.no_grad():
            model(x * 100)

    run(store, "a", Blocks(), [torch.randn(5, 6)], evaluate, evaluation=True)
    run(store, "b", Blocks(), [torch.randn(5, 6)], evaluate)
    variance = {name: table("layers", run=name, layer="body.0")["activation_var"].item() for name in "ab"}
    assert variance["a"] > 100 * variance["b"]


def test_micro_batches_are_merged_into_one_observation(store, table):
    model, seen = Blocks(), []
    model.body[0].register_forward_hook(lambda _m, _i, out: seen.append(out.detach().clone()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        for size in (5, 2, 9):
            model(torch.randn(size, 6)).square().mean().backward()
        optimizer.step()
    whole = torch.cat(seen).double().numpy()
    row = table("layers", layer="body.0").loc[0]
    assert row["activation_mean"] == pytest.approx(whole.mean(), rel=1e-5, abs=1e-7)
    assert row["activation_var"] == pytest.approx(whole.var(), rel=1e-5)
    assert row["dead_fraction"] == np.mean(whole.max(axis=0) <= 0)
    assert row["saturated_fraction"] == pytest.approx(np.mean(np.abs(whole) > 3))


def test_the_activation_gradient_is_the_one_that_arrives_at_the_layer(store, table):
    model, seen = Blocks(), []
    model.body[2].register_forward_hook(
        lambda _m, _i, out: out.register_hook(lambda g: seen.append(g.clone())) and None
    )
    run(store, "a", model, [torch.randn(5, 6)])
    row = table("layers", layer="body.2").loc[0]
    assert row["activation_grad_var"] == pytest.approx(seen[0].double().numpy().var(), rel=1e-5)
    assert row["activation_grad_sparsity"] == pytest.approx(np.mean(seen[0].numpy() == 0))


def test_nothing_of_an_unrecorded_step_leaks_into_a_recorded_one(store, table):
    model = Blocks()
    batches = [torch.randn(5, 6) * scale for scale in (1, 1000, 1)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Probe(model, optimizer, store=store, run="a", every=2, strict=True):
        for x in batches:
            model(x).square().mean().backward()
            optimizer.step()
    rows = table("layers", layer="body.0")
    assert rows["step"].tolist() == [0, 2]
    assert rows["activation_var"].iloc[1] == pytest.approx(
        model.body[0](batches[2]).double().var(correction=0).item(), rel=1e-5
    )
