"""The norm of the whole gradient, before clipping and as it is used. Source: pytorch/pytorch#1032."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import Probe


class Bare(nn.Module):
    """Parameters of every kind: shared, bare, frozen, recurrent, in an attention, normalised."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 6))
        self.q_bias = nn.Parameter(torch.randn(6))
        self.rnn = nn.GRU(6, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
        self.last = nn.Linear(6, 6)
        self.last.weight = self.first.parametrizations.weight.original1
        self.frozen = nn.Linear(6, 6).requires_grad_(False)

    def forward(self, x):
        h = self.norm(self.rnn(x + self.table + self.q_bias)[0])
        return self.last(self.frozen(self.first(self.attention(h, h, h)[0])))


def trained(model, optimizer, *, store, clip, micro_batches=1, scaler=None, dtype=torch.float32, steps=3):
    """Train and return the norms before and after clipping, as the loop itself reads them."""
    before, after = [], []
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(micro_batches):
                loss = model(torch.randn(4, 3, 6, dtype=dtype)).float().square().mean() * 30
                (loss if scaler is None else scaler.scale(loss)).backward()
            if scaler is not None:
                scaler.unscale_(optimizer)
            gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
            before.append(torch.stack([g.norm() for g in gradients]).norm().item())
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            gradients = [p.grad.double() for p in model.parameters() if p.grad is not None]
            after.append(torch.stack([g.norm() for g in gradients]).norm().item())
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
    return before, after


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("clip", [0.5, float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_norms_equal_those_read_in_the_loop(clip, micro_batches, dtype, store, table):
    model = Bare().to(dtype)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before, after = trained(model, optimizer, store=store, clip=clip, micro_batches=micro_batches, dtype=dtype)
    steps = table("steps")
    assert steps["grad_norm_unclipped"].tolist() == pytest.approx(before, rel=1e-5)
    assert steps["grad_norm"].tolist() == pytest.approx(after, rel=1e-5)
    squares = table("parameters").groupby("step")["grad_l2_norm"].apply(lambda norms: (norms.astype(float) ** 2).sum())
    assert squares.pow(0.5).tolist() == pytest.approx(after, rel=1e-5)


@pytest.mark.parametrize("clip", [0.5, float("inf")])
def test_the_scale_of_a_grad_scaler_is_divided_out(clip, store, table):
    model = Bare()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    before, after = trained(model, optimizer, store=store, clip=clip, scaler=scaler)
    steps = table("steps")
    assert steps["grad_norm_unclipped"].tolist() == pytest.approx(before, rel=1e-5)
    assert steps["grad_norm"].tolist() == pytest.approx(after, rel=1e-5)


def test_each_optimizer_counts_its_own_parameters_once(store, table):
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 1)])
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in model]
    truth = []
    with Probe(model, optimizers, store=store, run="a", every=1, strict=True):
        for _ in range(3):
            squares = 0.0
            for optimizer in optimizers:
                model.zero_grad()
                model[1](model[0](torch.randn(5, 3))).square().mean().backward()  # gives to both
                squares += sum(p.grad.double().square().sum().item() for p in optimizer.param_groups[0]["params"])
                optimizer.step()
            truth.append(squares**0.5)
    for column in ("grad_norm", "grad_norm_unclipped"):
        assert table("steps")[column].tolist() == pytest.approx(truth, rel=1e-5)


def test_every_trained_parameter_has_a_row_of_its_own(store, table):
    model = Bare()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    trained(model, optimizer, store=store, clip=1.0, steps=1)
    rows = table("parameters").set_index("parameter")
    trained_ones = {id(p): p for p in model.parameters() if p.requires_grad}
    assert len(rows) == len(trained_ones)
    assert {"table", "q_bias", "rnn.weight_hh_l0", "attention.in_proj_weight", "last.bias"} <= set(rows.index)
    assert rows.loc["q_bias", "mean"] == pytest.approx(model.q_bias.detach().double().mean().item(), rel=1e-2)
    assert rows["group_lr"].tolist() == pytest.approx([1e-3] * len(rows))
