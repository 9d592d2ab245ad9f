"""The pass of the probe batch leaves model, torch and other generators bitwise as they were, and ends no training."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe


def train(model, store, *, probe_batch=None, steps=3, x=None):
    """Train a model, with a probe at every step if there is a batch; return the losses."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []

    def loop():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 3) if x is None else x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    if probe_batch is None:
        loop()
    else:
        with Probe(model, optimizer, store=store, run="a", every={"channels": 1}, probe_batch=probe_batch):
            loop()
    return losses


class Untidy(nn.Module):
    """A forward that does, in evaluation too, all that leaves a trace."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 2)
        self.register_buffer("moved", torch.zeros(4))
        self.register_buffer("replaced", torch.zeros(4))
        self.calls, self.kept, self.named, self.plain = 0, [], {}, torch.zeros(4)

    def forward(self, x):
        x.add_(0.5)
        h = self.layer(x)
        self.calls += 1
        self.kept.append(h)
        self.named["last"] = self.hidden = h
        self.moved += h.detach().mean(0)
        self.replaced = self.replaced + self.moved
        self.plain += 1
        self.last.weight.data.mul_(0.99)
        noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        return self.last(F.relu(h + noise))


def test_a_forward_that_leaves_traces_leaves_none(store):
    torch.manual_seed(0)
    bare = Untidy()
    torch.manual_seed(0)
    probed, batch = Untidy(), torch.ones(6, 3)
    kept = batch.clone()
    assert train(bare, store) == train(probed, store, probe_batch=batch)
    assert torch.equal(batch, kept)
    for (name, one), other in zip(bare.state_dict().items(), probed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert (bare.calls, len(bare.kept)) == (probed.calls, len(probed.kept)) == (3, 3)
    assert all(torch.equal(one, other) for one, other in zip(bare.kept, probed.kept, strict=True))
    assert vars(bare).keys() == vars(probed).keys()
    assert probed.plain.tolist() == [3.0] * 4
    assert probed.hidden is probed.named["last"]
    rows = pd.read_parquet(store / "channels")
    assert sorted(set(rows["step"])) == [0, 1, 2]
    draws = torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
    train(bare, store)
    assert draws == (torch.rand(1), random.random(), np.random.rand())  # noqa: NPY002


def test_batch_norm_that_normalises_by_the_batch_in_evaluation_keeps_its_statistics(store):
    class Always(nn.BatchNorm1d):
        def forward(self, x):
            return F.batch_norm(x, self.running_mean, self.running_var, training=True)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), Always(4), nn.ReLU(), nn.Linear(4, 1))
    bare = train(model, store)
    after = model[1].running_mean.clone()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), Always(4), nn.ReLU(), nn.Linear(4, 1))
    assert train(model, store, probe_batch=torch.randn(5, 3)) == bare
    assert torch.equal(model[1].running_mean, after)


def test_hooks_of_the_user_do_not_count_the_pass(store):
    model, calls = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), []
    model[0].register_forward_hook(lambda *_: calls.append("hook"))
    model[0].register_forward_pre_hook(lambda *_: calls.append("before"))
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: calls.append("global"))
    try:
        train(model, store, probe_batch=torch.randn(5, 3), steps=1)
        assert sorted(calls) == ["before", *["global"] * 4, "hook"]
        calls.clear()
        model(torch.randn(2, 3))  # they are back
        assert len(calls) == 6
    finally:
        handle.remove()


def test_a_weight_that_torch_computes_in_a_hook_is_the_one_of_the_pass(store):
    torch.manual_seed(0)
    layer = nn.utils.spectral_norm(nn.Linear(3, 4, bias=False))
    model, x = nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 1)), torch.randn(5, 3)
    with torch.no_grad():
        model(torch.randn(4, 3))
    layer.eval()
    expected = layer(x).mean(0).tolist()
    train(model, store, probe_batch=x, steps=1, x=x)
    np.testing.assert_allclose(pd.read_parquet(store / "channels")["mean"], expected, rtol=1e-5)


@pytest.mark.parametrize("batch", [torch.randn(5, 7), (torch.randn(5, 3), 1), {"y": torch.randn(5, 3)}])
def test_a_model_that_fails_on_the_batch_is_a_gap(batch, store):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    expected = train(model, store)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.warns(RuntimeWarning, match="channels could not be recorded at step 0"):
        losses = train(model, store, probe_batch=batch)
    assert losses == expected
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    assert not torch.nn.modules.module._global_forward_hooks
    assert "channels" in pd.read_parquet(store / "runs")["gaps"].item()


def test_a_model_in_shards_is_a_gap(store):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    sharded = type("DTensor", (nn.Parameter,), {"to_local": lambda self: self})
    model[2].bias = sharded(torch.zeros(1))
    with pytest.warns(RuntimeWarning, match="2.bias is a DTensor"):
        train(model, store, probe_batch=torch.randn(5, 3), steps=1)


def test_a_batch_on_its_own_is_copied(store):
    batch = torch.randn(5, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Probe(model, optimizer, store=store, run="a", every={"channels": 1}, probe_batch=batch):
        for _ in range(2):
            model(batch).mean().backward()
            optimizer.step()
            batch.zero_()
    rows = pd.read_parquet(store / "channels").pivot(index="step", columns="channel", values="mean")
    assert rows.loc[0].tolist() == rows.loc[1].tolist()


@pytest.mark.parametrize(
    "given", [{"x": torch.randn(5, 3)}, [torch.randn(5, 3)], lambda model: model.part(torch.ones(5, 3))]
)
def test_a_batch_may_be_arguments_of_any_kind_or_a_function(given, store):
    class Parted(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))

        def forward(self, x):
            return self.part(x)

    train(Parted(), store, probe_batch=given, steps=1)
    assert set(pd.read_parquet(store / "channels")["layer"]) == {"part.0"}


@pytest.mark.parametrize("given", [3, "x", torch.tensor(1.0), []])
def test_what_is_no_batch_is_refused(given, store):
    with pytest.raises(ValueError, match="no tensor with samples"):
        Probe(nn.Linear(2, 2), store=store, run="a", probe_batch=given)


def test_channels_without_a_batch_are_refused(store):
    with pytest.raises(ValueError, match="give Probe"):
        Probe(nn.Linear(2, 2), store=store, run="a", metrics=["channels"])
