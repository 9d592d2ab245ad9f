"""Metrics that run later, on copies, in the writer's thread: the same records, in bounded memory, and no trace."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe, head_start, later, observation, set_aside
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


class Odd(nn.Module):
    """Sizes that fill no line of a cache, and weights that are laid out in unusual ways."""

    def __init__(self):
        super().__init__()
        self.narrow = nn.Linear(7, 91)
        self.orthogonal = nn.utils.parametrizations.orthogonal(nn.Linear(91, 67))
        self.transposed = nn.Linear(67, 73)
        self.transposed.weight = nn.Parameter(torch.randn(67, 73).t())
        self.last = nn.Linear(73, 9, bias=False)

    def forward(self, x):
        return self.last(self.transposed(self.orthogonal(self.narrow(x).relu())).relu())


NETWORKS = {
    "odd sizes": (lambda: nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 11)), lambda: torch.randn(6, 7)),
    "odd layouts": (Odd, lambda: torch.randn(6, 7)),
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


@pytest.fixture(autouse=True)
def small_tensors_are_worth_it(monkeypatch):
    monkeypatch.setattr(set_aside, "WORTH_COPYING", 1)


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
    assert bool(names) == (often and kind != "odd layouts")  # those cannot be copied
    at_once()
    other = train(kind, store, run="at-once", strict=True)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert_same_records(table)


def test_steps_wait_for_each_other_and_are_worked_out_together(store, monkeypatch, threads):
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1 << 30)
    monkeypatch.setattr(writer_module, "STALENESS", 1e6)  # else once a second too, on a machine that is slow
    train("bn", store, run="later", metrics=["weights", "gradients"], strict=True)
    assert [steps for _, steps in threads] == [7]


def test_metrics_run_in_the_writers_thread_when_enough_is_waiting(store, threads):
    def wait(step, *_):
        while sum(count for _, count in threads) < step:
            time.sleep(0.001)

    train("bn", store, run="later", metrics=["weights", "gradients"], between=wait, strict=True)
    assert [name for name, _ in threads[:6]] == ["probe-writer"] * 6


def step_bytes():
    """Return what one step of the 3-layer CNN takes: weights, biases, gradients, and room for their histograms."""
    named = list(build("cnn3", "bn", image_size=8).named_parameters())
    read = [p.numel() for name, p in named for _ in range(2 if name.endswith("weight") else 1)]
    return 4 * sum(read) + set_aside.RESULT * len(read)


def test_what_does_not_fit_is_measured_at_once(store, table, monkeypatch, at_once):
    limit = 5 * step_bytes()
    monkeypatch.setattr(writer_module, "MAX_COPIED", limit)
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1 << 30)
    waiting = []

    def note(_step, probe, _model):
        waiting.append(probe._output._writer._copied)

    train("bn", store, run="later", between=note, steps=20, strict=True)
    assert 0 < max(waiting) <= limit
    at_once()
    train("bn", store, run="at-once", steps=20, strict=True)
    assert_same_records(table)


def test_a_blocked_store_bounds_the_copies_and_loses_nothing(store, table, monkeypatch):
    limit = 5 * step_bytes()
    monkeypatch.setattr(writer_module, "MAX_COPIED", limit)
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", limit // 5)
    waiting = []

    def block(step, probe, _model):
        writer = probe._output._writer
        if step == 2:
            writer._writing.acquire()
        waiting.append(writer._copied)
        if step == 17:
            writer._writing.release()

    train("bn", store, run="later", metrics=["weights"], between=block, steps=20, strict=True)
    assert max(waiting[3:18]) <= limit
    assert sorted(table("layers")["step"].unique()) == list(range(20))
    assert table("layers")["weight_mean"].notna().sum() == 20 * 7  # four layers and three batch norms


def test_copies_are_counted_with_the_results_that_follow(store, monkeypatch):
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1 << 30)
    counted = []

    def look(_step, probe, _model):
        writer = probe._output._writer
        before = writer._bytes
        with writer._writing:
            writer._work_out()
        counted.append((before, writer._bytes))

    train("bn", store, run="later", metrics=["gradients", "weight_histograms"], between=look, strict=True)
    assert all(after <= before for before, after in counted)
    assert counted[-1][1] > 0


def test_copies_are_gone_once_they_are_looked_at_without_the_garbage_collector(store, monkeypatch):
    made = []

    class Watched(set_aside.SetAside):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(set_aside, "SetAside", Watched)
    gc.collect()
    gc.disable()
    try:

        def flush(_step, probe, _model):
            probe._output._writer.flush()
            assert [each() for each in made] == [None] * len(made)

        train("bn", store, run="a", between=flush, strict=True)
    finally:
        gc.enable()
    assert len(made) >= 7


def test_tensors_too_small_to_be_worth_it_are_not_copied(store, threads, monkeypatch):
    monkeypatch.setattr(set_aside, "WORTH_COPYING", 4096)
    train("odd sizes", store, run="a", metrics=["weights"], strict=True)
    assert threads == []


def test_a_large_network_is_not_copied(store, threads, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_COPIED", writer_module.AT_LEAST * (step_bytes() - 1))
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


def test_a_failure_stops_a_strict_training_at_one_of_the_next_steps_and_costs_no_other_row(store, table, monkeypatch):
    fail_at_step(monkeypatch, 3.0)
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1)

    def slowly(step, probe, model):
        mark(step, probe, model)
        time.sleep(0.05)

    metrics = ["weights", "singular_values"]
    with pytest.raises(ArithmeticError, match="no such number"):
        train("none", store, run="a", metrics=metrics, between=slowly, steps=1_000_000, strict=True)
    rows = table("layers", layer_index=0)
    assert rows["step"].tolist() == list(range(len(rows)))
    assert rows["weight_mean"].notna().all()
    assert rows.loc[rows["spectral_norm"].isna(), "step"].tolist() == [3]


def test_a_strict_failure_that_shows_at_the_end_is_raised_there(store, table, monkeypatch):
    fail_at_step(monkeypatch, 6.0)
    with pytest.raises(ArithmeticError, match="no such number"):
        train("none", store, run="a", metrics=["weights", "singular_values"], between=mark, strict=True)
    assert table("layers", layer_index=0)["weight_mean"].notna().tolist() == [True] * 7


def test_a_strict_failure_does_not_stand_before_the_error_of_the_training_itself(store, table, monkeypatch):
    fail_at_step(monkeypatch, 3.0)

    def stop(step, probe, model):
        mark(step, probe, model)
        if step == 6:
            raise LookupError("of the training")

    with pytest.raises(LookupError, match="of the training"), pytest.warns(RuntimeWarning, match="no such number"):
        train("none", store, run="a", metrics=["singular_values"], between=stop, strict=True)
    assert '"singular_values"' in table("runs")["gaps"].item()


def test_rows_stand_in_the_order_of_layers_whichever_of_them_were_copied(store, table, monkeypatch):
    model = nn.ModuleDict({"large": nn.Linear(50, 60), "small": nn.Linear(50, 6)})
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model.values()]
    monkeypatch.setattr(writer_module, "MAX_COPIED", writer_module.AT_LEAST * (8 * 320 + 4 * set_aside.RESULT))
    with Probe(model, optimizers, store=store, run="a", every=1, metrics=["spectra", "gradients"], strict=True):
        (model["large"](torch.randn(2, 50)).sum() + model["small"](torch.randn(2, 50)).sum()).backward()
        for optimizer in reversed(optimizers):
            optimizer.step()
    assert table("spectra")["layer"].tolist() == ["large", "small"]
    assert table("histograms")["layer"].tolist() == ["large", "small"]


def test_the_writer_computes_with_as_many_threads_as_training(store, monkeypatch, threads):
    seen = []
    monkeypatch.setattr(writer_module, "usable_cores", lambda: 8)

    def set_threads(step, probe, _model):
        torch.set_num_threads(2 if step < 3 else 1)
        while len(threads) < step:
            time.sleep(0.001)

    def work_out(waiting):
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        threads.append(("", 1))
        return later.work_out(waiting)

    monkeypatch.setattr(writer_module, "work_out", work_out)
    train("bn", store, run="a", metrics=["weights"], between=set_threads, strict=True)
    assert ("probe-writer", 2) in seen
    assert seen[-1][1] == 1
    assert torch.get_num_threads() == 1


def test_a_head_start_is_left_out_where_singular_values_are_copied(store, monkeypatch):
    begun = []
    monkeypatch.setattr(head_start, "SIDE", 2)
    monkeypatch.setattr(head_start, "leaves_cores_idle", lambda: True)
    original = head_start.HeadStart._begin
    monkeypatch.setattr(head_start.HeadStart, "_begin", lambda self: (begun.append(1), original(self)))
    train("bn", store, run="a", metrics=["singular_values"], strict=True)
    assert len(begun) == 1  # at the first step nobody knows
    monkeypatch.setattr(writer_module, "MAX_COPIED", 0)
    train("bn", store, run="b", metrics=["singular_values"], strict=True)
    assert len(begun) == 1 + 7


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
def test_a_fork_waits_until_nothing_is_under_way_and_the_child_can_compute(store, monkeypatch):
    under_way, released = threading.Event(), threading.Event()
    monkeypatch.setattr(writer_module, "ENOUGH_COPIED", 1)
    together = later._together

    def slowly(*given):
        under_way.set()
        released.wait()
        return together(*given)

    monkeypatch.setattr(later, "_together", slowly)

    def fork(step, _probe, model):
        if step != 1:
            return
        under_way.wait()
        threading.Timer(0.2, released.set).start()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that hangs
            with later._computing:
                os._exit(0 if released.is_set() else 1)
        assert os.waitpid(child, 0)[1] == 0

    train("bn", store, run="a", metrics=["weights"], between=fork, strict=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_that_ends_as_usual_leaves_the_run_alone(store):
    code = """
import os, sys, torch
from probes import Probe
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
probe = Probe(model, optimizer, store=sys.argv[1], run="a", every=1, strict=True)
for step in range(2):
    model(torch.randn(2, 2)).sum().backward()
    optimizer.step()
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
model(torch.randn(2, 2)).sum().backward()
optimizer.step()
probe.close()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(store)], check=True, timeout=120)
    assert pd.read_parquet(store / "layers")["step"].tolist() == [0, 1, 2]
    assert pd.read_parquet(store / "runs")["status"].tolist() == ["finished"]


def test_metrics_that_hand_themselves_something_or_look_at_activations_do_not_wait():
    waiting = {name for name, each in METRICS.items() if later.may_wait(each)}
    assert waiting >= {"weight_moments", "bias_moments", "grad_moments", "gradient_histogram", "spectrum", "update"}
    assert not waiting & {"operator_norm", "activation_moments", "activation_histogram", "gradient_noise"}
