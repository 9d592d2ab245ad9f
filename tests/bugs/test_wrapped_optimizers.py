"""Optimizers that are not what they seem: wrappers, subclasses that never call their base, two-step SAM.

Source: kozistr/pytorch_optimizer#122 and #484, jettify/pytorch-optimizer#349; Lightning-AI/pytorch-lightning#10024.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import Probe

STEPS = 3


class Wrapper(torch.optim.Optimizer):
    """As accelerate's and most Lookaheads: hands on to another and never calls super().__init__()."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    @property
    def state(self):
        return self.optimizer.state

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def step(self, closure=None):
        return self.optimizer.step(closure)


class Plain:
    """No optimizer of torch's, as schedule-free wrappers and DeepSpeed's."""

    def __init__(self, base):
        self.base, self.param_groups, self.zero_grad = base, base.param_groups, base.zero_grad

    def step(self, closure=None):
        return self.base.step(closure)


class Several:
    """One optimizer for matrices and one for the rest, as Muon is used."""

    def __init__(self, base):
        parameters = base.param_groups[0]["params"]
        self.optimizers = [
            torch.optim.SGD([p for p in parameters if (p.ndim > 1) == matrix], lr=0.1) for matrix in (0, 1)
        ]
        self.param_groups = [group for each in self.optimizers for group in each.param_groups]

    def zero_grad(self):
        for each in self.optimizers:
            each.zero_grad()

    def step(self):
        for each in self.optimizers:
            each.step()


class OwnStep(torch.optim.Optimizer):
    """Never calls super().__init__(), holds no other, and steps by itself."""

    def __init__(self, base):
        self.param_groups, self.state, self.defaults = base.param_groups, base.state, {}

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=0.1)
        return loss

    def zero_grad(self, set_to_none=True):  # noqa: ARG002
        for p in self.param_groups[0]["params"]:
            p.grad = None


KINDS = {"subclass": Wrapper, "plain": Plain, "twice": lambda o: Plain(Wrapper(o)), "several": Several, "own": OwnStep}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrapped_optimizer_is_observed_where_it_steps(kind, store, table):
    model = nn.Linear(4, 1)
    optimizer = KINDS[kind](torch.optim.SGD(model.parameters(), lr=0.25))
    truth = []
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True) as probe:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 4)).square().mean()
            loss.backward()
            truth.append(model.weight.grad.double().norm().item())
            optimizer.step()
            probe.log(loss=loss)
    assert table("layers")["grad_l2_norm"].tolist() == pytest.approx(truth, rel=1e-6)
    assert table("layers")["update_ratio"].gt(0).all()
    steps = table("steps")
    assert steps["loss"].notna().all()
    assert steps["lr"].tolist() == [optimizer.param_groups[0]["lr"]] * STEPS


def test_the_step_method_is_the_objects_own_again_after_the_run(store):
    model = nn.Linear(4, 1)
    optimizer = OwnStep(torch.optim.SGD(model.parameters(), lr=0.1))
    with Probe(model, optimizer, store=store, run="a", every=1):
        assert "step" in vars(optimizer)
        model(torch.randn(5, 4)).sum().backward()
        optimizer.step()
    assert "step" not in vars(optimizer)


class SAM(torch.optim.Optimizer):
    """The widespread two-step form: ``step`` may never be called."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        for p in self.param_groups[0]["params"]:
            self.state[p]["old"] = p.clone()
            p.add_(0.05 * p.grad / p.grad.norm())
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for p in self.param_groups[0]["params"]:
            p.copy_(self.state[p]["old"])
        self.base_optimizer.step()

    @torch.no_grad()
    def step(self, closure=None):
        self.first_step(zero_grad=True)
        torch.enable_grad()(closure)()
        self.second_step()


@pytest.mark.parametrize("by_closure", [False, True])
@pytest.mark.parametrize("to_none", [False, True])
def test_sam_records_the_gradient_of_its_second_pass(by_closure, to_none, store, table):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = SAM(model.parameters(), 0.1)
    truth = []

    def backward(x):
        model(x).square().mean().backward()
        return model[0].weight.grad.double().norm().item()

    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        for _ in range(STEPS):
            x = torch.randn(8, 4)
            optimizer.zero_grad(set_to_none=to_none)
            backward(x)
            if by_closure:
                optimizer.step(lambda x=x: truth.append(backward(x)))
            else:
                optimizer.first_step()
                optimizer.zero_grad(set_to_none=to_none)
                truth.append(backward(x))
                optimizer.second_step()
    rows = table("layers", layer="0")
    assert rows["step"].tolist() == list(range(STEPS))
    assert rows["grad_l2_norm"].tolist() == pytest.approx(truth, rel=1e-6)
    assert rows["grad_noise"].isna().all()  # the first pass is no part of this gradient
    assert table("steps")["grad_norm"].tolist() == pytest.approx(
        table("steps")["grad_norm_unclipped"].tolist(), rel=1e-6
    )


class Unit(torch.optim.Optimizer):
    """Steps of length alpha along the sign of the gradient; there is no learning rate."""

    def __init__(self, params, alpha=0.01):
        super().__init__(params, {"alpha": alpha})

    @torch.no_grad()
    def step(self, closure=None):  # noqa: ARG002
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign(), alpha=group["alpha"])


def test_an_optimizer_without_a_learning_rate_has_null_there(store, table):
    model = nn.Linear(4, 1)
    optimizer = Unit(model.parameters())
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True) as probe:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 4)).square().mean()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
    assert table("steps")["loss"].notna().sum() == STEPS
    assert table("steps")["lr"].isna().all()
    assert table("parameters")["group_lr"].isna().all()


def test_parameters_added_to_an_optimizer_later_are_recorded_with_their_rate(store, table):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        for step in range(4):
            if step == 2:
                model[0].requires_grad_(True)
                optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.01})
            optimizer.zero_grad()
            model(torch.randn(5, 4)).square().mean().backward()
            optimizer.step()
    rows = table("parameters", parameter="0.weight")
    assert rows["step"].tolist() == [2, 3]
    assert rows["group_lr"].tolist() == pytest.approx([0.01, 0.01])
    assert table("layers", layer="0")["grad_l2_norm"].isna().tolist() == [True, True, False, False]


def test_one_optimizer_a_parameter_that_steps_in_the_backward_pass_is_recorded(store, table):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}
    norms = []

    def step(p):
        if p is model[0].weight:
            norms.append(p.grad.double().norm().item())
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    with Probe(model, optimizers.values(), store=store, run="a", every=1, strict=True):
        for _ in range(STEPS):
            model(torch.randn(5, 4)).square().mean().backward()
    rows = table("layers", layer="0")
    assert rows["step"].tolist() == list(range(STEPS))
    assert rows["grad_l2_norm"].tolist() == pytest.approx(norms, rel=1e-6)
    assert rows["activation_mean"].notna().all()


def test_an_optimizer_from_lightning_is_seen_through(store, table):
    pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.core.optimizer import LightningOptimizer

    from probes.hooks.optimizers.optimizers_inside import stepping_optimizers

    base = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    assert stepping_optimizers([LightningOptimizer(base)]) == [base]


def test_an_accelerated_optimizer_is_seen_through(store):
    accelerate = pytest.importorskip("accelerate")

    from probes.hooks.optimizers.optimizers_inside import stepping_optimizers

    base = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    assert stepping_optimizers([accelerate.Accelerator(cpu=True).prepare(base)]) == [base]


@pytest.mark.parametrize("what", ["sgd", 3, [None]])
def test_what_is_no_optimizer_is_refused_at_once(what, store):
    with pytest.raises(ValueError, match="is not an optimizer: expected one with step"):
        Probe(nn.Linear(2, 2), what, store=store, run="a")
