"""The recorded gradient is the one that the optimizer uses, whatever happens between backward and step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from probes import Probe
from probes.schema import bin_edges


class Loop:
    """A linear regression whose gradient is known by hand."""

    def __init__(self, optimizer=torch.optim.SGD, **settings):
        self.model = nn.Linear(6, 4)
        self.optimizer = optimizer(self.model.parameters(), lr=0.01, **settings)
        self.batches = [torch.randn(5, 6) for _ in range(3)]

    def loss(self, x):
        return self.model(x).square().mean()

    def gradient(self, batches):
        """The sum of the batches' gradients, computed apart."""
        losses = sum(self.loss(x) for x in batches)
        return torch.autograd.grad(losses, self.model.weight)[0].double().numpy()


@pytest.fixture
def probing(store):
    return lambda loop, **how: Probe(loop.model, loop.optimizer, store=store, run="a", every=1, strict=True, **how)


def test_accumulated_micro_batches_are_read_as_their_sum(probing, table):
    loop = Loop()
    with probing(loop):
        truth = loop.gradient(loop.batches)
        single = np.stack([loop.gradient([x]) for x in loop.batches])
        for x in loop.batches:
            loop.loss(x).backward()
        loop.optimizer.step()
    row = table("layers").loc[0]
    assert row["grad_l2_norm"] == pytest.approx(np.linalg.norm(truth), rel=1e-6)
    assert row["grad_var"] == pytest.approx(truth.var(), rel=1e-5)
    noise = (3 * single).var(axis=0, ddof=1).mean()  # each contribution alone estimates a third of the sum
    assert row["grad_noise"] == pytest.approx(noise, rel=1e-5)


def test_one_backward_a_step_has_no_gradient_noise(probing, table):
    loop = Loop()
    with probing(loop):
        loop.loss(loop.batches[0]).backward()
        loop.optimizer.step()
    assert table("layers")["grad_noise"].isna().all()


def hooks_on(parameter):
    return [hooks for hooks in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks) if hooks]


def test_parameters_have_hooks_only_in_steps_that_are_measured(store, table):
    loop, had = Loop(), []
    with Probe(loop.model, loop.optimizer, store=store, run="a", every=3, strict=True):
        for _ in range(7):
            for x in loop.batches:
                loop.loss(x).backward()
            had.append(len(hooks_on(loop.model.weight)))
            loop.optimizer.step()
            loop.optimizer.zero_grad()
    assert had == [2, 0, 0, 2, 0, 0, 2]
    assert hooks_on(loop.model.weight) == []
    rows = table("layers")
    assert rows["step"].tolist() == [0, 3, 6]
    assert (rows["grad_noise"] > 0).all()


def test_a_parameter_that_takes_no_hook_is_a_gap_and_stops_no_training(store, table):
    def refuse(_):
        raise RuntimeError("no hooks here")

    def train():
        for _ in range(3):
            loop.loss(loop.batches[0]).backward()
            loop.optimizer.step()

    loop = Loop()
    with Probe(loop.model, loop.optimizer, store=store, run="a", every=2):
        loop.model.weight.register_hook = refuse
        with pytest.warns(RuntimeWarning, match="micro-batch gradient of 'weight'.*no hooks here"):
            train()
    assert table("layers")["step"].tolist() == [0, 2]
    assert "no hooks here" in table("runs")["gaps"].item()


@pytest.mark.parametrize("every", [1, 2])
def test_a_layer_that_is_unfrozen_later_has_gradient_noise_from_the_next_step_on(every, store, table):
    loop = Loop()
    loop.model.weight.requires_grad_(False)
    with Probe(loop.model, loop.optimizer, store=store, run="a", every=every, strict=True):
        for step in range(4):
            loop.model.weight.requires_grad_(step >= 1)
            for x in loop.batches:
                loop.loss(x).backward()
            loop.optimizer.step()
            loop.optimizer.zero_grad()
    noise = table("layers").set_index("step")["grad_noise"]
    assert noise.notna().to_dict() == {step: step >= 2 for step in range(0, 4, every)}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_grad_scaler_does_not_scale_what_is_recorded(fused, micro_batches, probing, table):
    loop = Loop(torch.optim.AdamW, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    chosen = loop.batches[:micro_batches]
    with probing(loop):
        truth = loop.gradient(chosen)
        single = np.stack([micro_batches * loop.gradient([x]) for x in chosen])
        for x in chosen:
            scaler.scale(loop.loss(x)).backward()
        scaler.step(loop.optimizer)
        scaler.update()
    row = table("layers").loc[0]
    assert row["grad_l2_norm"] == pytest.approx(np.linalg.norm(truth), rel=1e-5)
    if micro_batches > 1:
        assert row["grad_noise"] == pytest.approx(single.var(axis=0, ddof=1).mean(), rel=1e-4)
    row = table("histograms", tensor="gradient").loc[0]
    edges = bin_edges(row["first_bin"], len(row["counts"]), mantissa_bits=row["mantissa_bits"])
    np.testing.assert_array_equal(row["counts"], np.histogram(truth, edges)[0])


def test_a_step_that_the_scaler_skips_is_no_step(probing, table):
    loop = Loop()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with probing(loop):
        for factor in (1.0, float("inf"), 1.0):
            loop.optimizer.zero_grad()
            scaler.scale(loop.loss(loop.batches[0]) * factor).backward()
            scaler.step(loop.optimizer)
            scaler.update()
    assert table("layers")["step"].tolist() == [0, 1]
    assert (table("layers")["grad_nonfinite"] == 0).all()


def test_a_clipped_gradient_is_recorded_clipped(probing, table):
    loop = Loop()
    with probing(loop):
        loop.loss(loop.batches[0]).backward()
        nn.utils.clip_grad_norm_([loop.model.weight], 1e-3)
        loop.optimizer.step()
    assert table("layers")["grad_l2_norm"].item() == pytest.approx(1e-3, rel=1e-3)


def test_capture_reads_the_gradient_before_clipping_once(probing, table):
    loop = Loop()
    with probing(loop) as probe:
        truth = loop.gradient(loop.batches[:1])
        loop.loss(loop.batches[0]).backward()
        probe.capture()
        probe.capture()
        nn.utils.clip_grad_norm_([loop.model.weight], 1e-3)
        loop.optimizer.step()
    row = table("layers")
    assert row["grad_l2_norm"].item() == pytest.approx(np.linalg.norm(truth), rel=1e-6)
    assert row["update_ratio"].item() > 0


def test_bfloat16_parameters_are_measured_in_float32(probing, table):
    loop = Loop()
    loop.model.bfloat16()
    loop.batches = [x.bfloat16() for x in loop.batches]
    with probing(loop):
        loop.loss(loop.batches[0]).backward()
        loop.optimizer.step()
        truth = loop.model.weight.grad.double().numpy()
    assert table("layers")["grad_var"].item() == pytest.approx(truth.var(), rel=1e-5)


def test_weights_are_those_before_the_update_and_the_update_is_the_steps_own(probing, table):
    loop = Loop()
    with probing(loop):
        before = loop.model.weight.detach().double().numpy().copy()
        loop.loss(loop.batches[0]).backward()
        loop.optimizer.step()
        after = loop.model.weight.detach().double().numpy()
    row = table("layers").loc[0]
    assert row["weight_mean"] == pytest.approx(before.mean(), rel=1e-5)
    assert row["update_ratio"] == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-4)
