"""What a batch norm says about its input and output is what NumPy computes from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from probes import Probe, activations
from probes.batch_norm import moments_from_batch_norm, worked_out


@pytest.fixture(autouse=True)
def detour_for_every_size(monkeypatch):
    monkeypatch.setattr(activations, "WORTH", 1)


class Block(nn.Module):
    """A convolution and a batch norm, and something between or behind them."""

    def __init__(self, between=None, norm=nn.BatchNorm2d, **settings):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 5, 3), norm(5, **settings)
        self.between = between or nn.Identity()
        with torch.no_grad():
            for parameter in self.norm.parameters():
                parameter.copy_(torch.randn(5))

    def forward(self, x):
        return torch.relu_(self.norm(self.between(self.conv(x))))


def outputs_of(model, x):
    """What the layers put out, copied before anything can write to it."""
    seen = {}
    for name in ("conv", "norm"):
        module = getattr(model, name)
        module.register_forward_hook(
            lambda _m, _i, out, name=name: seen.setdefault(name, []).append(out.detach().clone())
        )
    return seen


def record(model, batches, store, **how):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = outputs_of(model, batches[0])
    every = {"activations": 1, "saturation": 1}
    with Probe(model, optimizer, store=store, run="a", every=every, metrics=list(every), **how):
        for x in batches:
            model(x).square().mean().backward()
            optimizer.step()
    return seen


def check(table, seen):
    for name, outputs in seen.items():
        rows = table("layers", layer=name)
        assert len(rows) == len(outputs)
        first = outputs[0].double().mean((0, 2, 3)).numpy()
        for (_, row), output in zip(rows.iterrows(), outputs, strict=True):
            truth = output.double().numpy()
            drift = np.sqrt(((truth.mean((0, 2, 3)) - first) ** 2).mean())
            assert row["activation_mean"] == pytest.approx(truth.mean(), rel=1e-5, abs=1e-6)
            assert row["activation_var"] == pytest.approx(truth.var(), rel=1e-5)
            assert row["activation_drift"] == pytest.approx(drift, rel=1e-4, abs=1e-6)
            assert row["saturated_fraction"] == pytest.approx(np.mean(np.abs(truth) > 3))
            assert row["activation_nonfinite"] == 0


BATCHES = 3


def batches():
    return [torch.randn(4, 2, 7, 7) * 2 + 1 for _ in range(BATCHES)]


@pytest.mark.parametrize(
    "block",
    [
        Block,
        lambda: Block(affine=False),
        lambda: Block(eps=0.1),
        lambda: Block(momentum=None),
        lambda: Block(track_running_stats=False),
        lambda: Block(between=nn.ReLU(inplace=True)),
        lambda: Block(between=nn.ReLU()),
        lambda: Block(norm=lambda n: nn.InstanceNorm2d(n, affine=True)),
    ],
    ids=[
        "plain",
        "no affine",
        "large eps",
        "no momentum",
        "no running",
        "in-place between",
        "between",
        "instance norm",
    ],
)
def test_moments_equal_numpy_whatever_stands_between_layer_and_norm(block, store, table):
    check(table, record(block(), batches(), store, strict=True))


def test_the_detour_is_taken_where_it_can_be():
    model, x = Block(), torch.randn(4, 2, 7, 7)
    given, output = moments_from_batch_norm(model.norm, model.norm(model.conv(x)))
    truth = model.conv(x).detach().double().numpy()
    means, variances = worked_out([given, output])
    np.testing.assert_allclose(means[:5], truth.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(variances[:5], truth.var((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(means[5:], model.norm.bias.detach().double())


def test_nothing_is_asked_where_the_answer_would_be_wrong_or_cost_something():
    model, x = Block(), torch.randn(4, 2, 7, 7)
    h = model.conv(x)
    assert moments_from_batch_norm(model.norm, model.norm(h * 1e-4)) is None  # variances near eps
    assert moments_from_batch_norm(model.norm, model.norm(h * torch.nan)) is None
    with torch.autograd.graph.save_on_cpu():
        assert moments_from_batch_norm(model.norm, model.norm(h)) is None  # asking would unpack
    with torch.no_grad():
        assert moments_from_batch_norm(model.norm, model.norm(h)) is None
    model.eval()
    assert moments_from_batch_norm(model.norm, model.norm(h)) is None


def test_a_nan_is_seen_and_counted(store, table):
    given = batches()
    given[1][2, 0, 3, 3] = torch.nan
    record(Block(), given, store, strict=True)
    rows = table("layers", layer="conv")
    assert (rows["activation_nonfinite"] > 0).tolist() == [False, True, True]
    assert rows["activation_mean"].isna().tolist() == [False, True, True]


def test_under_checkpoints_each_activation_is_seen_once(store, table):
    class Checkpointed(Block):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    model = Checkpointed()
    seen = record(model, batches(), store, strict=True)
    check(table, {name: outputs[::2] for name, outputs in seen.items()})  # every second one is a recomputation


def test_a_norm_that_stays_away_is_caught_up_with_or_said(store, table):
    model = Block()
    given = batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=["activations"]) as probe:
        model(given[0]).mean().backward()
        optimizer.step()
        model.conv(given[1]).mean().backward()  # without the norm
        optimizer.step()
        with pytest.warns(RuntimeWarning, match="something else wrote to the output first"):
            overwrite_and_step(model, given[2], optimizer)
        probe.flush()
    rows = table("layers", layer="conv").set_index("step")
    truth = model.conv(given[1]).detach().double().numpy().var()
    assert rows.loc[1, "activation_var"] == pytest.approx(truth, rel=1e-5)
    assert 2 not in rows.index
    assert "something else wrote" in table("runs")["gaps"].item()


def overwrite_and_step(model, x, optimizer):
    h = model.conv(x)
    model.norm(torch.relu_(h)).mean().backward()
    optimizer.step()
