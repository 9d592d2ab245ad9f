"""Metrics that run later, on copies, in the writer's thread: the same records, in bounded memory, and no trace."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe, later, observation
from probes import writer as writer_module
from probes.metrics import METRICS, metric
from probes.schema import Column

RECORDED = ["weights", "gradients", "singular_values", "spectra", "kernel_slices", "updates", "weight_histograms"]


class Mixed(nn.Module):
    """Tied and frozen weights, sparse gradients, one layer that some steps leave out, a convolution's transpose."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4, sparse=True)
        self.spread = nn.ConvTranspose1d(4, 3, 2)
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.sometimes = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.back = nn.Linear(4, 9)
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        h = self.frozen(self.spread(self.words(x).mT).mT)
        return self.back(self.sometimes(h) if self.passes % 3 else h).mean(1)


NETWORKS = {
    **{
        norm: (partial(build, "cnn3", norm, image_size=8), lambda: torch.randn(6, 1, 8, 8))
        for norm in ("none", "bn", "msn")
    },
    "densenet": (
        lambda: build("densenet_bc", "sn", in_channels=3, depth=16, image_size=8),
        lambda: torch.randn(6, 3, 8, 8),
    ),
    "mixed": (Mixed, lambda: torch.randint(9, (6, 5))),
}


def train(kind, store, *, run, steps=7, every=1, between=lambda *_: None, metrics=RECORDED, **settings):
    torch.manual_seed(1)
    make, inputs = NETWORKS[kind]
    model = make()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    every = dict.fromkeys(metrics, every) if metrics is RECORDED else every
    with Probe(model, optimizer, store=store, run=run, every=every, metrics=metrics, **settings) as probe:
        for step in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs()), torch.arange(6)).backward()
            between(step, probe, model)
            optimizer.step()
    return model.state_dict()


@pytest.fixture
def at_once(monkeypatch):
    """Return a function after which nothing is set aside any more."""
    return lambda: monkeypatch.setattr(writer_module, "MAX_COPIED", 0)


@pytest.fixture
def threads(monkeypatch):
    """Look at copies after every step; return the names of the threads that ran metrics on them."""
    names = []

    def work_out(waiting):
        if waiting:
            names.append((threading.current_thread().name, len(waiting)))
        return later.work_out(waiting)

    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1)
    monkeypatch.setattr(writer_module, "work_out", work_out)
    return names


def assert_same_records(table):
    for name in ("layers", "spectra", "histograms"):
        first, second = (table(name, run=run).drop(columns="run") for run in ("later", "at-once"))
        assert len(first) > 0
        pd.testing.assert_frame_equal(first.map(_exact), second.map(_exact), check_exact=True)


def _exact(cell):
    return tuple(cell) if isinstance(cell, np.ndarray) else cell


@pytest.mark.parametrize("often", [True, False], ids=["step by step", "in one go"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_and_records_are_bit_for_bit_those_of_metrics_run_at_once(kind, often, store, table, request):
    names, at_once = request.getfixturevalue("threads") if often else [], request.getfixturevalue("at_once")
    one = train(kind, store, run="later", strict=True)
    assert bool(names) == often
    at_once()
    other = train(kind, store, run="at-once", strict=True)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert_same_records(table)


def test_steps_wait_for_each_other_and_are_worked_out_together(store, monkeypatch, threads):
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1 << 30)
    train("bn", store, run="later", metrics=["weights", "gradients"], strict=True)
    assert sum(steps for _, steps in threads) == 7
    assert len(threads) <= 3  # at the end, and once a second on a slow machine


def test_metrics_run_in_the_writers_thread_when_enough_is_waiting(store, threads):
    def wait(step, *_):
        deadline = time.monotonic() + 10
        while sum(count for _, count in threads) < step and time.monotonic() < deadline:
            time.sleep(0.001)

    train("bn", store, run="later", metrics=["weights", "gradients"], between=wait, strict=True)
    assert [name for name, _ in threads[:6]] == ["probe-writer"] * 6


def test_what_does_not_fit_is_measured_at_once(store, table, monkeypatch, threads, at_once):
    step_bytes = 4 * 2 * sum(p.numel() for p in build("cnn3", "bn", image_size=8).parameters())
    monkeypatch.setattr(writer_module, "MAX_COPIED", 5 * step_bytes)
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1 << 30)
    waiting = []

    def note(_step, probe, _model):
        waiting.append(probe._output._writer._copied)

    train("bn", store, run="later", between=note, steps=20, strict=True)
    assert 0 < max(waiting) <= 5 * step_bytes
    at_once()
    train("bn", store, run="at-once", steps=20, strict=True)
    assert_same_records(table)


def test_a_blocked_store_bounds_the_copies_and_loses_nothing(store, table, monkeypatch):
    step_bytes = 4 * 2 * sum(p.numel() for p in build("cnn3", "bn", image_size=8).parameters())
    monkeypatch.setattr(writer_module, "MAX_COPIED", 5 * step_bytes)
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", step_bytes)
    waiting = []

    def block(step, probe, _model):
        writer = probe._output._writer
        if step == 2:
            assert writer._writing.acquire(timeout=10)
        waiting.append(writer._copied)
        if step == 17:
            writer._writing.release()

    train("bn", store, run="later", metrics=["weights"], between=block, steps=20, strict=True)
    assert max(waiting[3:18]) <= 5 * step_bytes
    assert sorted(table("layers")["step"].unique()) == list(range(20))
    assert table("layers")["weight_mean"].notna().sum() == 20 * 7  # four layers and three batch norms


def test_a_large_network_is_not_copied(store, threads, monkeypatch):
    size = 4 * sum(p.numel() for p in build("cnn3", "bn", image_size=8).parameters())
    monkeypatch.setattr(writer_module, "MAX_COPIED", writer_module.AT_LEAST * size)  # the gradients are too much
    train("bn", store, run="a", metrics=["weights", "gradients"], strict=True)
    assert threads == []


def test_float64_is_not_copied(store, table, threads):
    model = nn.Linear(3, 2).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=["weights"], strict=True):
        model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
        mean = model.weight.detach().mean().item()
        optimizer.step()
    assert threads == []
    assert table("layers")["weight_mean"].item() == np.float32(mean)


@pytest.mark.parametrize(("training", "cores", "waits"), [(1, 1, True), (1, 2, True), (2, 3, False), (2, 4, True)])
def test_metrics_wait_only_where_the_writer_takes_no_core_from_training(training, cores, waits, request):
    store, threads, monkeypatch = (request.getfixturevalue(name) for name in ("store", "threads", "monkeypatch"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: training)
    monkeypatch.setattr(writer_module, "usable_cores", lambda: cores)
    train("bn", store, run="a", metrics=["weights"], strict=True)
    assert bool(threads) == waits


def test_a_metric_of_ones_own_runs_in_the_training_thread(store, table, threads):
    seen = []

    @metric(reads="weight", columns=[Column("weight_max", "1", "max W", "effective weight")])
    def weight_max(weights):
        seen.append(threading.current_thread())
        return torch.stack([weight.max() for weight in weights])

    train("bn", store, run="a", metrics=["weights", weight_max], strict=True)
    assert seen == [threading.main_thread()] * 7
    assert table("layers")["weight_max"].notna().sum() == 7 * 7
    assert threads != []


def fail_at_step(monkeypatch, bad):
    """Make the singular values of one step's tensors fail, known by their first number."""

    def singular_values(matrices):
        if any(float(matrix.flatten()[0]) == bad for matrix in matrices):
            raise ArithmeticError("no such number")
        return original(matrices)

    original = observation.singular_values
    monkeypatch.setattr(observation, "singular_values", singular_values)


def mark(step, _probe, model):
    with torch.no_grad():
        model.features[0].conv.weight.view(-1)[0] = float(step)


def test_a_failure_is_a_gap_of_its_step_and_metric_alone(store, table, monkeypatch):
    fail_at_step(monkeypatch, 3.0)
    metrics = ["weights", "singular_values"]
    with pytest.warns(RuntimeWarning, match="singular_values could not be recorded at step 3: ArithmeticError"):
        train("none", store, run="a", metrics=metrics, between=mark)
    rows = table("layers", layer_index=0)
    assert rows["weight_mean"].notna().tolist() == [True] * 7
    assert rows.loc[rows["spectral_norm"].isna(), "step"].tolist() == [3]


def test_a_failure_stops_a_strict_training_at_one_of_the_next_steps(store, monkeypatch, threads):
    fail_at_step(monkeypatch, 3.0)

    def slowly(step, probe, model):
        mark(step, probe, model)
        time.sleep(0.05)

    with pytest.raises(ArithmeticError, match="no such number"):
        train("none", store, run="a", metrics=["singular_values"], between=slowly, steps=200, strict=True)


@pytest.mark.filterwarnings("ignore:probe. grad")  # two more metrics read it
def test_what_cannot_be_read_is_a_gap_of_the_metrics_that_read_it(store, table, monkeypatch):
    def unreadable(_):
        raise RuntimeError("no gradient to be had")

    monkeypatch.setitem(observation.SOURCES, "gradient", unreadable)
    with pytest.warns(RuntimeWarning, match="grad_moments could not be recorded at step 0: RuntimeError"):
        train("none", store, run="a", metrics=["weights", "gradients"])
    assert table("layers")["weight_mean"].notna().all()


def test_what_is_read_at_capture_is_recorded(store, table):
    def clip(_step, probe, model):
        probe.capture()
        for parameter in model.parameters():
            parameter.grad.zero_()

    train("none", store, run="a", metrics=["gradients"], between=clip, strict=True)
    assert (table("layers")["grad_l2_norm"].dropna() > 0).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forking beside threads
def test_a_fork_waits_until_nothing_is_under_way_and_the_child_can_compute(monkeypatch):
    under_way, released = threading.Event(), threading.Event()

    def slowly(*_):
        under_way.set()
        released.wait(10)
        return []

    monkeypatch.setattr(later, "_work_out", slowly)
    thread = threading.Thread(target=later.work_out, args=([],))
    thread.start()
    assert under_way.wait(10)
    threading.Timer(0.2, released.set).start()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if later.work_out([]) == [] and released.is_set() else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_metrics_that_hand_themselves_something_or_look_at_activations_do_not_wait():
    waiting = {name for name, each in METRICS.items() if later.may_wait(each)}
    assert waiting >= {"weight_moments", "bias_moments", "grad_moments", "gradient_histogram", "spectrum", "update"}
    assert not waiting & {"operator_norm", "activation_moments", "activation_histogram", "gradient_noise"}
