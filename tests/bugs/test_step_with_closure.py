"""Optimizers that run forward and backward inside ``step(closure)``, as Lightning's automatic optimization always does.

Source: Lightning-AI/pytorch-lightning PR #10167; the same threads and wandb/wandb#7003 for its Trainer.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import Probe

STEPS = 4


class Loop:
    """Trains a network by closures and notes what a record should hold."""

    def __init__(self, optimizer, *, micro_batches=1, **settings):
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
        self.optimizer = optimizer(self.model.parameters(), **settings)
        self.micro_batches = micro_batches
        self.norms, self.means, self.evaluations = [], [], 0
        self.model[0].register_forward_hook(lambda _m, _i, out: self.outputs.append(out.detach().double()))
        self.outputs = []

    def backward(self):
        (self.model(torch.randn(5, 4)) - 1).square().mean().backward()

    def step(self):
        self.outputs, first = [], True
        self.optimizer.zero_grad()
        for _ in range(self.micro_batches - 1):
            self.backward()

        def closure():
            nonlocal first
            self.evaluations += 1
            if self.micro_batches == 1:
                self.optimizer.zero_grad()
            loss = (self.model(torch.randn(5, 4)) - 1).square().mean()
            loss.backward()
            if first:
                self.norms.append(self.model[0].weight.grad.double().norm().item())
                self.means.append(torch.cat(self.outputs).mean().item())
            first = False
            return loss

        self.optimizer.step(closure)


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (torch.optim.Adam, {"lr": 0.01}),
        (torch.optim.LBFGS, {"lr": 1e-3}),
    ],
)
def test_records_hold_what_the_first_evaluation_gave(optimizer, settings, micro_batches, store, table):
    loop = Loop(optimizer, micro_batches=micro_batches, **settings)
    with Probe(loop.model, loop.optimizer, store=store, run="a", every=1, strict=True):
        for _ in range(STEPS):
            loop.step()
    rows = table("layers", layer="0").set_index("step")
    assert rows.index.tolist() == list(range(STEPS))
    assert rows["grad_l2_norm"].tolist() == pytest.approx(loop.norms, rel=1e-6)
    assert rows["activation_mean"].tolist() == pytest.approx(loop.means, rel=1e-5)
    assert rows["update_ratio"].notna().all()
    assert rows["grad_noise"].notna().all() == (micro_batches > 1)
    assert (loop.evaluations > STEPS) == (optimizer is torch.optim.LBFGS)


def test_a_closure_given_by_keyword_is_seen_too(store, table):
    loop = Loop(torch.optim.SGD, lr=0.1)
    step = loop.optimizer.step
    with Probe(loop.model, loop.optimizer, store=store, run="a", every=1, strict=True):
        loop.optimizer.step = lambda closure: step(closure=closure)
        loop.step()
    assert table("layers", layer="0")["grad_l2_norm"].tolist() == pytest.approx(loop.norms, rel=1e-6)


def test_numbers_logged_inside_a_closure_belong_to_its_step(store, table):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True) as probe:
        for _ in range(3):

            def closure():
                optimizer.zero_grad()
                loss = model(torch.randn(5, 4)).square().mean()
                loss.backward()
                probe.log(loss=loss)
                losses.append(loss.item())
                return loss

            optimizer.step(closure)
    assert table("steps").sort_values("step")["loss"].tolist() == pytest.approx(losses)


def test_two_optimizers_with_closures_make_one_step(store, table):
    generator, critic = nn.Linear(2, 3), nn.Linear(3, 1)
    model = nn.ModuleDict({"generator": generator, "critic": critic})
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.01) for part in (critic, generator)]
    norms = {"critic": [], "generator": []}

    def closure_of(part, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = critic(generator(torch.randn(6, 2))).mean()
            loss.backward()
            norms[part].append(model[part].weight.grad.double().norm().item())
            return loss

        return closure

    with Probe(model, optimizers, store=store, run="a", every=1, strict=True):
        for _ in range(3):
            for part, optimizer in zip(("critic", "generator"), optimizers, strict=True):
                optimizer.step(closure_of(part, optimizer))
    for part, truth in norms.items():
        rows = table("layers", layer=part)
        assert rows["step"].tolist() == [0, 1, 2]
        assert rows["grad_l2_norm"].tolist() == pytest.approx(truth, rel=1e-6)
        assert rows["activation_mean"].notna().all()


def test_an_optimizer_that_never_evaluates_its_closure_leaves_a_gap(store, gaps):
    class Forgetful(torch.optim.SGD):
        def step(self, closure=None):  # noqa: ARG002
            return super().step()

    model = nn.Linear(4, 1)
    optimizer = Forgetful(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1):
        model(torch.randn(5, 4)).sum().backward()
        with pytest.warns(RuntimeWarning, match="did not evaluate the closure"):
            optimizer.step(lambda: None)
    assert any("closure" in gap["why"] for gap in gaps())


def test_training_by_closures_is_bitwise_the_same(store):
    def trained(*, probed):
        torch.manual_seed(3)
        loop = Loop(torch.optim.LBFGS, lr=0.1)
        if not probed:
            for _ in range(STEPS):
                loop.step()
        else:
            with Probe(loop.model, loop.optimizer, store=store, run="a", every=1):
                for _ in range(STEPS):
                    loop.step()
        return [parameter.detach().clone() for parameter in loop.model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(trained(probed=True), trained(probed=False), strict=True))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's, in Lightning's own code
def test_a_lightning_trainer_records_its_own_gradients(store, table, tmp_path):
    pl = pytest.importorskip("lightning.pytorch")

    class Lit(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.truth = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)), []

        def training_step(self, batch, _index):
            return self.net(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_before_optimizer_step(self, _optimizer):
            self.truth.append(self.net[0].weight.grad.double().norm().item())

    class Watch(pl.Callback):
        def on_train_start(self, trainer, module):
            self.probe = Probe(module, trainer.optimizers[0], store=store, run="lit", every=1)

        def on_train_end(self, _trainer, _module):
            self.probe.close()

    module = Lit()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_steps=4, accelerator="cpu", callbacks=[Watch()], default_root_dir=tmp_path, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(torch.randn(20, 4), batch_size=5))
    rows = table("layers", layer="net.0").set_index("step")
    assert rows["grad_l2_norm"].tolist() == pytest.approx(module.truth, rel=1e-6)
    assert rows["activation_mean"].notna().all()
