"""The off switch: a probe that is off leaves a training as if there were none, and costs next to nothing."""

from __future__ import annotations

import copy
import inspect
import threading
import time

import pytest
import torch
from torch import nn

from probes import Probe
from probes.recording.opening.off_switch import SwitchedOff


def train(model: nn.Module, optimizer: torch.optim.Optimizer, probe: Probe) -> None:
    with probe:
        for epoch in range(2):
            probe.epoch = epoch
            for _ in range(3):
                loss = model(torch.ones(4, 3)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                probe.capture()
                optimizer.step()
                probe.log(loss=loss)
            probe.log(split="test", accuracy=0.5)
            probe.flush()


@pytest.fixture
def model() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.fixture(params=["argument", "environment"])
def off(request, monkeypatch):
    """Return the settings of a probe that is off."""
    if request.param == "argument":
        return {"enabled": False}
    monkeypatch.setenv("MEANDRIFT", "off")
    return {}


def hooks_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[object]:
    of_model = [hooks for name, hooks in vars(model).items() if name.endswith("_hooks") and hooks]
    of_optimizer = [hooks for name, hooks in vars(optimizer).items() if name.endswith("_hooks") and hooks]
    return [*of_model, *of_optimizer, *(parameter._backward_hooks for parameter in model.parameters())]


def test_a_probe_that_is_off_leaves_no_hook_no_thread_and_no_file(off, model, store):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    threads = set(threading.enumerate())
    probe = Probe(model, optimizer, store=store, run="a", **off)
    assert not model._forward_hooks
    assert hooks_of(model, optimizer) == [None, None]
    train(model, optimizer, probe)
    assert set(threading.enumerate()) == threads
    assert not store.exists()
    assert type(model.forward).__name__ == "method"


def test_a_loop_reads_from_it_what_it_reads_from_any_probe(off, model, store):
    probe = Probe(model, store=store, run="a", **off)
    assert isinstance(probe, Probe)
    assert (probe.run, probe.epoch, probe.bytes_per_1000_steps) == ("a", None, 0)
    probe.epoch = 3
    assert probe.epoch == 3
    probe.step()
    probe.detach()
    probe.attach(step=4)
    probe.load_state_dict(probe.state_dict())
    assert isinstance(copy.deepcopy(probe), Probe)
    assert repr(probe) == "SwitchedOffProbe()"


def test_the_checkpoint_of_a_probe_that_was_off_is_taken_by_one_that_is_on(model, store, table):
    saved = Probe(model, enabled=False).state_dict()
    with Probe(model, store=store, run="a", every=1, resume="auto") as probe:
        probe.load_state_dict(saved)
        probe.step()
    assert table("layers")["step"].tolist() == [0]


def test_each_public_method_of_a_probe_is_off():
    public = {name for name, value in vars(Probe).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert public <= set(vars(SwitchedOff))


@pytest.mark.parametrize("name", ["log", "step", "capture", "flush", "attach", "detach", "close", "load_state_dict"])
def test_a_call_that_is_off_takes_the_same_arguments(name):
    on, off = (inspect.signature(getattr(cls, name)).parameters for cls in (Probe, SwitchedOff))
    assert set(on) <= {*off, "split", "scalars"}


def test_a_class_of_ones_own_is_off_too(store, model):
    class Named(Probe):
        """A probe with a name."""

    probe = Named(model, store=store, enabled=False)
    assert isinstance(probe, Named)
    assert not model._forward_hooks


def test_a_step_costs_less_than_a_microsecond(model):
    probe, loss = Probe(model, enabled=False), torch.tensor(1.0)
    best = float("inf")
    for _ in range(5):  # the machine is shared: the least of some
        began = time.perf_counter()
        for _ in range(10_000):
            probe.log(loss=loss)
            probe.step()
        best = min(best, (time.perf_counter() - began) / 10_000)
    assert best < 1e-6


def test_another_word_than_on_or_off_is_refused(monkeypatch, model):
    monkeypatch.setenv("MEANDRIFT", "of")
    with pytest.raises(ValueError, match="MEANDRIFT='of' in the environment: expected on or off"):
        Probe(model)


@pytest.mark.parametrize("word", ["", "on", "ON", "1"])
def test_a_probe_is_on_unless_it_is_switched_off(word, monkeypatch, model, store):
    monkeypatch.setenv("MEANDRIFT", word)
    with Probe(model, store=store):
        assert model._forward_hooks
    assert store.exists()
