"""Metrics computed in the background from copies: the same records, in bounded memory, and no trace."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe
from probes.background import worker
from probes.background.budget import Limits
from probes.measuring import sources
from probes.metrics import METRICS, metric
from probes.metrics.singular_values import stacked_spectra
from probes.schema import Column

NORMS = ["none", "bn", "sn", "msn", "released_sn", "wn", "torch_sn"]
RECORDED = ["weights", "gradients", "activations", "singular_values", "spectrum"]
WRITER = "probe-writer"
ALWAYS = Limits(idle=lambda: True, wake_copied=1, eager=0.0)
NEVER = Limits(idle=lambda: False)


@pytest.fixture
def solved(monkeypatch):
    """Return the list of threads that compute singular values, and of how many matrices, as it grows."""
    calls = []

    def solve(matrices):
        calls.append((threading.current_thread().name, len(matrices)))
        return stacked_spectra(matrices)

    read = sources._computed("solved_matrices", solve)
    monkeypatch.setitem(sources.DERIVED, "spectra", read)
    return calls


def in_background(solved):
    return [count for name, count in solved if name == WRITER]


def network(norm="none"):
    model = build("cnn3", "none" if norm == "torch_sn" else norm, image_size=8)
    if norm == "torch_sn":
        for module in [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]:
            nn.utils.parametrizations.spectral_norm(module)
    return model


def train(model, store=None, *, run="a", passes=1, steps=3, amp=False, between=lambda *_: None, **settings):
    """Train, under a probe where there is a store; ``between`` is called between backward and optimizer step."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {"every": dict.fromkeys(RECORDED, 1), "metrics": RECORDED, "strict": True, "_limits": ALWAYS, **settings}
    with nullcontext() if store is None else Probe(model, optimizer, store=store, run=run, **settings) as probe:
        for step in range(steps):
            optimizer.zero_grad()
            for _ in range(passes):
                with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                    loss = F.cross_entropy(model(torch.randn(6, 1, 8, 8)), torch.arange(6))
                loss.backward()
            between(step, probe, model)
            optimizer.step()
    return model.state_dict()


def exact(cell):
    return tuple(cell) if isinstance(cell, np.ndarray) else cell


def assert_same_records(table, one="background", other="at-once"):
    for name in ("layers", "spectra"):
        first, second = (table(name, run=run).drop(columns="run") for run in (one, other))
        assert len(first) > 0
        pd.testing.assert_frame_equal(first.map(exact), second.map(exact), check_exact=True)


@pytest.mark.parametrize("way", [{}, {"passes": 2}, {"amp": True}], ids=["plain", "accumulation", "autocast"])
@pytest.mark.parametrize("norm", NORMS)
def test_training_and_records_are_bit_for_bit_those_of_metrics_computed_at_once(norm, way, solved, store, table):
    model = network(norm)
    copies = [copy.deepcopy(model) for _ in range(2)]
    bare = train(copies[0], **way)
    background = train(copies[1], store, run="background", **way)
    assert sum(in_background(solved)) + sum(count for name, count in solved if name != WRITER) == 3 * 4
    train(model, store, run="at-once", _limits=NEVER, **way)
    assert all(torch.equal(bare[name], background[name]) for name in bare)
    assert_same_records(table)


def test_the_worker_computes_while_training_goes_on(solved, store):
    """Each step waits until the worker has computed the one before: what is left at the end is computed at the end."""
    computed = threading.Semaphore(0)
    read = sources.DERIVED["spectra"]

    def and_tell(observation):
        found = read(observation)
        computed.release()
        return found

    sources.DERIVED["spectra"] = and_tell

    def wait(step, *_):
        assert step == 0 or computed.acquire(timeout=60)

    train(network(), store, between=wait, metrics=["singular_values"], every=1)
    assert in_background(solved)[:2] == [4, 4]


def test_several_steps_are_computed_together_where_they_are_small(solved, store):
    train(network(), store, steps=5, _limits=Limits(idle=lambda: True, staleness=1000.0, eager=0.0))
    assert solved == [("MainThread", 4)] * 5  # when the run is closed, each step from its own copies


CHANGES = {
    "in place": lambda m: m.weight.detach().mul_(0.5),
    "through .data": lambda m: m.weight.data.view(-1)[7].add_(0.1),
    "another parameter": lambda m: setattr(m, "weight", nn.Parameter(m.weight.detach() * 0.5)),
    "not a number": lambda m: m.weight.data.view(-1)[7].fill_(torch.nan),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_changed_before_the_optimizer_steps_is_recorded_as_it_is_then(change, store, table):
    truth = []

    def between(_step, _probe, model):
        CHANGES[change](model.classifier)
        weight = model.classifier.weight.detach().double().numpy()
        nan = change == "not a number"
        truth.append(np.nan if nan else np.linalg.svd(weight, compute_uv=False)[0])

    train(network(), store, between=between, steps=2)
    np.testing.assert_allclose(table("layers", layer="classifier")["spectral_norm"], truth, rtol=1e-6)


def matrix_bytes(model):
    return sum(p.nbytes for p in model.parameters() if p.ndim > 1)


def test_copies_that_do_not_fit_are_computed_at_once(solved, store, table):
    model = network()
    limits = Limits(idle=lambda: True, max_copied=2 * matrix_bytes(model), staleness=1000.0, eager=0.0)
    train(copy.deepcopy(model), store, run="background", steps=6, _limits=limits)
    assert len(solved) == 6
    train(model, store, run="at-once", steps=6, _limits=NEVER)
    assert_same_records(table)


def test_memory_is_given_back_when_metrics_are_computed(store):
    taken = []

    def look(_step, probe, _model):
        taken.append(probe._budget._taken)
        probe.flush()
        assert probe._budget._taken == 0

    train(network(), store, between=look, steps=4, _limits=Limits(idle=lambda: True, staleness=1000.0, eager=0.0))
    assert taken == [0, *[matrix_bytes(network())] * 3]


def test_a_metric_of_ones_own_runs_in_the_training_thread(solved, store, table):
    @metric(reads="singular_values", columns=[Column("smallest", "1", "min sigma", "effective weight")])
    def smallest(spectra):
        return torch.stack([spectrum[-1] for spectrum in spectra])

    train(network(), store, metrics=["singular_values", smallest], every=1)
    assert solved == [("MainThread", 4)] * 3  # what it reads is at hand for all
    assert table("layers")["smallest"].notna().sum() == 12


def fail_at(monkeypatch, bad):
    """Make the singular values of one step's tensors fail, known by their first number."""

    def solve(matrices):
        if any(float(matrix.flatten()[0]) == bad for matrix in matrices):
            raise ArithmeticError("no such number")
        return stacked_spectra(matrices)

    monkeypatch.setitem(sources.DERIVED, "spectra", sources._computed("solved_matrices", solve))


def mark(step, _probe, model):
    with torch.no_grad():
        model.features[0].conv.weight.view(-1)[0] = float(step)


def test_a_failure_is_a_gap_of_its_step_and_metric_alone(store, table, monkeypatch):
    fail_at(monkeypatch, 3.0)
    with pytest.warns(RuntimeWarning, match="singular_values of layer .* could not be recorded at step 3: Arith"):
        train(network(), store, steps=7, metrics=["weights", "singular_values"], every=1, between=mark, strict=False)
    rows = table("layers", layer_index=0)
    assert rows["weight_mean"].notna().tolist() == [True] * 7
    assert rows.loc[rows["spectral_norm"].isna(), "step"].tolist() == [3]
    (gap,) = json.loads(table("runs")["gaps"].item())
    assert (gap["what"], gap["first_step"], gap["count"]) == ("singular_values", 3, 1)
    others = table("layers", step=3).iloc[1:]
    assert (
        others["spectral_norm"].notna().equals(others["weight_mean"].notna() & (others["layer_type"] != "BatchNorm2d"))
    )


def test_a_strict_failure_that_shows_at_the_end_is_raised_there(store, table, monkeypatch):
    fail_at(monkeypatch, 6.0)
    with pytest.raises(ArithmeticError, match="no such number"):
        train(network(), store, steps=7, metrics=["weights", "singular_values"], every=1, between=mark)
    assert table("layers", layer_index=0)["weight_mean"].notna().tolist() == [True] * 7


def test_a_strict_failure_does_not_hide_the_error_of_the_training_itself(store, table, monkeypatch):
    fail_at(monkeypatch, 3.0)

    def stop(step, probe, model):
        mark(step, probe, model)
        if step == 6:
            raise LookupError("of the training")

    limits = Limits(idle=lambda: True, staleness=1000.0, eager=0.0)
    with pytest.raises(LookupError, match="of the training"), pytest.warns(RuntimeWarning, match="no such number"):
        train(network(), store, steps=7, metrics=["singular_values"], every=1, between=stop, _limits=limits)
    assert '"singular_values"' in table("runs")["gaps"].item()


def test_several_optimizers_are_read_one_after_another(store, table):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model]
    truth = []
    with Probe(model, optimizers, store=store, run="a", every={"spectra": 1}, metrics=["spectra"], _limits=ALWAYS):
        for _ in range(2):
            truth += [np.linalg.svd(m.weight.detach().double().numpy(), compute_uv=False) for m in model]
            model(torch.randn(4, 6)).square().mean().backward()
            for optimizer in reversed(optimizers):
                optimizer.step()
    spectra = table("spectra")
    assert spectra["layer"].tolist() == ["0", "1"] * 2  # in depth order, whichever was read first
    np.testing.assert_allclose(np.concatenate(spectra["singular_values"]), np.concatenate(truth), rtol=1e-5)


def test_only_metrics_that_read_a_computed_source_are_deferrable():
    deferrable = {name: entry.reads for name, entry in METRICS.items() if entry.deferrable}
    assert deferrable.keys() == {"singular_values", "spectrum"}
    assert set(deferrable.values()) <= sources.COMPUTED_FROM.keys()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_no_thread_is_left(error, store):
    def crash(*_):
        if error is not None:
            raise error

    with nullcontext() if error is None else pytest.raises(error):
        train(network(), store, between=crash)
    assert not [thread for thread in threading.enumerate() if thread.name == WRITER]


UNFINISHED = """
import sys, torch
from torch import nn
from probes import Probe
from probes.background.budget import Limits
model = nn.Sequential(*(nn.Linear(700, 700) for _ in range(4)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
limits = Limits(idle=lambda: True, wake_copied=1)
probe = Probe(model, optimizer, store=sys.argv[1], run="a", every=1, metrics=["singular_values"], _limits=limits)
for _ in range(2):
    model(torch.randn(2, 700)).sum().backward()
    optimizer.step()
"""


def test_the_interpreter_ends_while_something_is_under_way(store, table):
    command = [sys.executable, "-c", UNFINISHED, str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert table("layers")["spectral_norm"].notna().sum() == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forking beside threads
def test_a_fork_waits_until_nothing_is_computed_and_the_child_can_compute(store, monkeypatch):
    under_way, released = threading.Event(), threading.Event()

    def slowly(matrices):
        under_way.set()
        released.wait(60)
        return stacked_spectra(matrices)

    monkeypatch.setitem(sources.DERIVED, "spectra", sources._computed("solved_matrices", slowly))

    def fork(step, _probe, _model):
        if step != 1:
            return
        assert under_way.wait(60)
        threading.Timer(0.2, released.set).start()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that hangs
            with worker._computing:
                torch.linalg.eigvalsh(torch.eye(300))
                os._exit(0 if released.is_set() else 1)
        assert os.waitpid(child, 0)[1] == 0

    train(network(), store, metrics=["singular_values"], every=1, between=fork)


def test_a_forked_child_that_ends_as_usual_leaves_the_run_alone(store, table):
    code = UNFINISHED + "\nimport os\nchild = os.fork()\nif child == 0:\n    sys.exit(0)\n"
    code += "assert os.waitpid(child, 0)[1] == 0\nprobe.close()\n"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(store)], check=True, timeout=120)
    assert sorted(set(table("layers")["step"])) == [0, 1]
    assert table("runs")["status"].tolist() == ["finished"]


def test_the_worker_computes_with_as_many_threads_as_training(store, monkeypatch):
    seen = []

    def solve(matrices):
        seen.append(torch.get_num_threads())
        return stacked_spectra(matrices)

    monkeypatch.setitem(sources.DERIVED, "spectra", sources._computed("solved_matrices", solve))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(network(), store, metrics=["singular_values"], every=1)
    finally:
        torch.set_num_threads(before)
    assert seen == [2] * 3
