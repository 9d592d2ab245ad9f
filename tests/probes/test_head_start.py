"""Singular values that are begun during the backward pass: the numbers of those taken in place, and no trace."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe, head_start
from probes.head_start import HeadStart
from probes.metrics.singular_values import singular_values

NORMS = ["none", "bn", "sn", "msn", "released_sn", "released_msn", "wn", "torch_sn"]
MOVING = ["sn", "msn", "released_sn", "released_msn", "torch_sn"]  # whose forward passes move the weight in use
RECORDED = ["weights", "gradients", "activations", "singular_values", "spectrum"]
BEGIN = HeadStart._begin
AHEAD = "probe-singular-values"


@pytest.fixture(autouse=True)
def nothing_is_set_aside(monkeypatch):
    """Take these small networks for ones too large to be copied."""
    monkeypatch.setattr("probes.writer.MAX_COPIED", 0)


@pytest.fixture
def solved(monkeypatch):
    """Find a core idle, take small matrices too; return the list of who solved how many matrices, as it grows."""
    calls = []

    def solve(matrices):
        name = threading.current_thread().name
        calls.append((AHEAD if name.startswith(AHEAD) else "in place", len(matrices)))
        return singular_values(matrices)

    monkeypatch.setattr(head_start, "SIDE", 2)
    monkeypatch.setattr(head_start, "leaves_cores_idle", lambda: True)
    monkeypatch.setattr(head_start, "singular_values", solve)
    monkeypatch.setattr(HeadStart, "_begin", begin_and_wait)
    return calls


def begin_and_wait(self):
    """Let the thread come to its end: a step of these networks takes no longer than it takes to wake."""
    BEGIN(self)
    if self._begun is not None:
        wait([self._begun])


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(AHEAD)]


def network(norm="none"):
    model = build("cnn3", "none" if norm == "torch_sn" else norm, image_size=8)
    if norm == "torch_sn":
        for module in [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]:
            nn.utils.parametrizations.spectral_norm(module)
    return model


def train(model, store=None, *, run="a", passes=1, steps=3, amp=False, between=lambda _: None, **settings):
    """Train, under a probe where there is a store; ``between`` is called between backward and optimizer step."""
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    settings = {"every": dict.fromkeys(RECORDED, 1), "metrics": RECORDED, "strict": True, **settings}
    with nullcontext() if store is None else Probe(model, optimizer, store=store, run=run, **settings):
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(passes):
                with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                    loss = F.cross_entropy(model(torch.randn(6, 1, 8, 8)), torch.arange(6))
                loss.backward()
            between(model)
            optimizer.step()
    return model.state_dict()


def assert_same_records(table, one="ahead", other="in-place"):
    for name in ("layers", "spectra"):
        first, second = (table(name, run=run).drop(columns="run") for run in (one, other))
        assert len(first) > 0
        pd.testing.assert_frame_equal(first.map(_exact), second.map(_exact), check_exact=True)


def _exact(cell):
    return tuple(cell) if isinstance(cell, np.ndarray) else cell


@pytest.mark.parametrize("way", [{}, {"passes": 2}, {"amp": True}], ids=["plain", "accumulation", "autocast"])
@pytest.mark.parametrize("norm", NORMS)
def test_training_and_records_are_bit_for_bit_those_without(norm, way, solved, request, table):
    store, monkeypatch = (request.getfixturevalue(name) for name in ("store", "monkeypatch"))
    model = network(norm)
    copies = [copy.deepcopy(model) for _ in range(2)]
    bare = train(copies[0], **way)
    ahead = train(copies[1], store, run="ahead", **way)
    who = [name for name, _ in solved]
    assert who.count(AHEAD) == 3
    assert who.count("in place") == (way.get("passes", 1) - 1) * (
        norm in MOVING
    )  # at the first step, begun after one pass
    monkeypatch.setattr(head_start, "leaves_cores_idle", lambda: False)
    train(model, store, run="in-place", **way)
    assert all(torch.equal(bare[name], ahead[name]) for name in bare)
    assert_same_records(table)


class Square(nn.Module):
    """A parametrization that autocast would round to bfloat16."""

    def forward(self, weight):
        return weight @ weight


def test_a_weight_is_computed_without_the_forward_pass_autocast(solved, store):
    model = nn.utils.parametrize.register_parametrization(nn.Linear(6, 6), "weight", Square())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=["singular_values"], strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.randn(4, 6)).sum()
        loss.backward()
        optimizer.step()
    assert solved == [(AHEAD, 1)]


def _replace(module):
    module.weight = nn.Parameter(module.weight.detach() * 0.5)


CHANGES = {
    "in place": lambda m: m.weight.detach().mul_(0.5),
    "clamped through .data": lambda m: m.weight.data.clamp_(-0.01, 0.01),
    "one entry through .data": lambda m: m.weight.data.view(-1)[7].add_(0.1),
    "other data": lambda m: setattr(m.weight, "data", m.weight.data * 0.5),
    "another parameter": _replace,
    "not a number": lambda m: m.weight.data.view(-1)[7].fill_(torch.nan),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_changed_before_the_optimizer_steps_is_solved_as_it_is_then(change, solved, store, table):
    truth = []

    def between(model):
        CHANGES[change](model.classifier)
        if change == "not a number":
            truth.append(np.nan)
        else:
            truth.append(np.linalg.svd(model.classifier.weight.detach().double().numpy(), compute_uv=False)[0])

    train(network(), store, between=between, steps=2)
    found = table("layers", layer="classifier")["spectral_norm"]
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    assert solved.count(("in place", 1)) == 2  # the others stand


def test_an_optimizer_in_the_backward_pass_is_noticed(solved, store, table):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.5)
        parameter.register_post_accumulate_grad_hook(lambda _, optimizer=optimizer: optimizer.step())
    truth = []
    with Probe(model, store=store, run="a", every=1, metrics=["singular_values"], strict=True) as probe:
        for _ in range(3):
            model(torch.randn(4, 6)).square().mean().backward()
            truth.append(np.linalg.svd(model[0].weight.detach().double().numpy(), compute_uv=False)[0])
            probe.step()
    np.testing.assert_allclose(table("layers", layer="0")["spectral_norm"], truth, rtol=1e-6)


def test_a_failure_of_the_thread_is_made_good_in_place(solved, store, table, monkeypatch):
    def fail_ahead(matrices):
        if threading.current_thread().name.startswith(AHEAD):
            raise RuntimeError("no such thread")
        return singular_values(matrices)

    model = network()
    other = copy.deepcopy(model)
    train(other, store, run="ahead")
    monkeypatch.setattr(head_start, "singular_values", fail_ahead)
    train(model, store, run="in-place")
    assert_same_records(table)


def test_a_failure_in_both_places_is_reported_as_ever(solved, store, monkeypatch):
    def fail(_):
        raise ArithmeticError("no such number")

    monkeypatch.setattr(head_start, "singular_values", fail)
    with pytest.warns(RuntimeWarning, match="singular_values could not be recorded at step 0: ArithmeticError"):
        train(network(), store, strict=False, metrics=["singular_values"], every=1)


def test_what_has_not_begun_is_taken_back(solved, store, monkeypatch):
    monkeypatch.setattr(HeadStart, "_begin", BEGIN)
    model, released = network(), threading.Event()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=["singular_values"], strict=True) as probe:
        probe._head_start._thread.submit(released.wait)
        model(torch.randn(6, 1, 8, 8)).sum().backward()
        optimizer.step()
        released.set()
    assert solved == [("in place", 4)]


def test_only_large_matrices_are_begun_with(solved, store, monkeypatch):
    monkeypatch.setattr(head_start, "SIDE", 32)
    train(network(), store, steps=1)
    assert sorted(solved) == [("in place", 2), (AHEAD, 2)]  # in place: the first layer and the last, of 10 classes


def test_copies_evaluations_and_compiled_passes_begin_nothing(solved, store):
    model = network()
    with Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a", every=1, strict=True):
        images = torch.randn(2, 1, 8, 8)
        copy.deepcopy(model)(images)
        with torch.no_grad():
            model(images)
        model.eval()(images)
        torch.compile(model.train(), backend="eager")(images)
        assert threads() == []


def test_several_optimizers_share_what_was_begun(solved, store, table):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model]
    truth = []
    with Probe(model, optimizers, store=store, run="a", every=1, metrics=["singular_values"], strict=True):
        for _ in range(2):
            truth += [np.linalg.svd(m.weight.detach().double().numpy(), compute_uv=False)[0] for m in model]
            model(torch.randn(4, 6)).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
    np.testing.assert_allclose(table("layers")["spectral_norm"], truth, rtol=1e-6)
    assert solved == [(AHEAD, 2)] * 2


def test_both_networks_of_a_gan_are_right(solved, store, table):
    # Of so many singular values that a few power iterations are far from their end: each pass moves the weight's sum.
    critic = nn.utils.parametrizations.spectral_norm(nn.Linear(30, 20))
    networks = {"generator": nn.Linear(2, 30), "critic": critic}
    optimizers = {name: torch.optim.Adam(module.parameters(), lr=0.01) for name, module in networks.items()}
    settings = {"store": store, "every": 1, "metrics": ["singular_values"], "strict": True}
    probes = [Probe(module, optimizers[name], run=name, **settings) for name, module in networks.items()]
    truth = {name: [] for name in networks}
    for _ in range(4):
        for name in ("critic", "generator"):
            networks["critic"](torch.randn(5, 30))
            F.softplus(networks["critic"](networks["generator"](torch.randn(5, 2)))).mean().backward()
            weight = copy.deepcopy(networks[name]).eval().weight.detach()
            truth[name].append(np.linalg.svd(weight.double().numpy(), compute_uv=False)[0])
            optimizers[name].step()
    for probe in probes:
        probe.close()
    for name, values in truth.items():
        np.testing.assert_allclose(table("layers", run=name)["spectral_norm"], values, rtol=1e-6)
    assert solved.count(("in place", 1)) == 2  # the critic, until it is known that it has four passes a step


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_no_thread_is_left(error, solved, store):
    def crash(_):
        assert len(threads()) == 1
        if error is not None:
            raise error

    with nullcontext() if error is None else pytest.raises(error):
        train(network(), store, between=crash)
    assert threads() == []


UNFINISHED = """
import os, sys, threading, torch
from torch import nn
from probes import Probe, head_start
head_start.leaves_cores_idle = lambda: True
model = nn.Sequential(*(nn.Linear(700, 700) for _ in range(4)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
probe = Probe(model, optimizer, store=sys.argv[1], run="a", every=1, metrics=["singular_values"], strict=True)
loss = model(torch.randn(2, 700)).sum()
assert any(thread.name.startswith("probe-singular-values") for thread in threading.enumerate())
"""


def run_python(code, store, **environment):
    command = [sys.executable, "-c", code, str(store)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_interpreter_ends_while_something_is_under_way(store):
    assert run_python(UNFINISHED, store).stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forking beside threads
def test_a_fork_while_something_is_under_way_can_compute_and_step(solved, store, monkeypatch):
    monkeypatch.setattr(head_start, "SIDE", 64)
    monkeypatch.setattr(HeadStart, "_begin", BEGIN)
    model = nn.Sequential(*(nn.Linear(400, 400) for _ in range(4)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=["singular_values"]) as probe:
        model(torch.randn(2, 400)).sum().backward()
        begun = probe._head_start._begun
        while not (begun.running() or begun.done()):
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that hangs
            torch.linalg.eigvalsh(torch.eye(300))
            matrices = [layer.weight.detach() for layer in model]
            for _ in range(2):
                probe._head_start.singular_values(range(4), matrices)
                probe._head_start.arm(wanted=True)
                model(torch.randn(2, 400))  # no backward: torch refuses it where autograd has had threads before
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        optimizer.step()
    assert solved == [(AHEAD, 4)]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_the_thread_starts_no_threads_of_its_own_where_training_has_one(store):
    code = UNFINISHED.replace(
        "model =", "torch.set_num_threads(1); before = len(os.listdir('/proc/self/task')); model ="
    )
    code += "loss.backward(); optimizer.step()\nprint(len(os.listdir('/proc/self/task')) - before)"
    assert run_python(code, store, OMP_NUM_THREADS="4").stdout == "2\n"  # the store's writer and this one


@pytest.mark.parametrize(("training", "cores", "idle"), [(1, 2, True), (1, 1, False), (2, 3, False), (2, 4, True)])
def test_a_core_is_idle_where_training_uses_half_of_them(training, cores, idle, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: training)
    monkeypatch.setattr(head_start, "usable_cores", lambda: cores)
    monkeypatch.setattr(head_start, "busy_threads", lambda: 1)
    monkeypatch.setattr(head_start.os, "cpu_count", lambda: cores)
    assert head_start.leaves_cores_idle() == idle


SHARDED = """
import sys, torch, torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from probes import Probe, head_start
head_start.usable_cores, head_start.busy_threads, head_start.os.cpu_count = lambda: 8, lambda: 1, lambda: 8
torch.set_num_threads(1)
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
model = fully_shard(nn.Sequential(nn.Linear(700, 700), nn.Linear(700, 700)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
metrics = ["singular_values"]
with Probe(model, optimizer, store=sys.argv[1], run="a", every=1, metrics=metrics, strict=True) as probe:
    for _ in range(3):
        model(torch.randn(2, 700)).sum().backward()
        optimizer.step()
        assert probe._head_start._begun is None
dist.destroy_process_group()
"""


def test_nothing_is_begun_that_fsdp_frees_in_the_backward_pass(store, table):
    run_python(SHARDED, store, GLOO_SOCKET_IFNAME="lo")
    assert table("layers")["spectral_norm"].notna().tolist() == [True] * 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform pins no process")
def test_a_process_pinned_to_one_core_works_in_place(solved, store, monkeypatch):
    monkeypatch.undo()
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert head_start.usable_cores() == 1
        assert not head_start.leaves_cores_idle()
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", float("inf")), (None, float("inf"))]
)
def test_a_quota_of_the_control_group_counts(text, cores, tmp_path):
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert head_start.quota(tmp_path / "cpu.max") == cores


@pytest.mark.parametrize(("busy", "idle"), [(1, True), (3, True), (4, False)])
def test_a_core_that_another_process_is_busy_on_is_not_idle(busy, idle, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(head_start, "usable_cores", lambda: 4)
    monkeypatch.setattr(head_start, "busy_threads", lambda: busy)
    monkeypatch.setattr(head_start.os, "cpu_count", lambda: 4)
    assert head_start.leaves_cores_idle() == idle


@pytest.mark.parametrize(("text", "busy"), [("2.55 2.93 2.96 3/102 30407\n", 3), ("something else", 1)])
def test_busy_threads_are_counted_where_the_system_tells(text, busy, tmp_path):
    assert head_start.busy_threads(tmp_path / "none") == 1
    (tmp_path / "loadavg").write_text(text)
    assert head_start.busy_threads(tmp_path / "loadavg") == busy
