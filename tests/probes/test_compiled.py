"""Under torch.compile: the same numbers, one graph for recorded and unrecorded steps, no break of the probe's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from probes import Probe

counters = torch._dynamo.utils.counters


def make():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 3))


def train(model, forward, whole_step=False, steps=5):
    """Return the optimizer and a function that trains, compiled whole where asked."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        forward(x).square().mean().backward()
        optimizer.step()

    chosen = torch.compile(step, backend="aot_eager") if whole_step else step

    def run():
        generator = torch.Generator().manual_seed(1)
        for _ in range(steps):
            chosen(torch.randn(5, 6, generator=generator))

    return optimizer, run


def graphs_and_breaks(probe_store=None, whole_step=False):
    torch.compiler.reset()
    counters.clear()
    model = make()
    forward = model if whole_step else torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer, run = train(model, forward, whole_step)
    if probe_store is None:
        run()
    else:
        with Probe(model, optimizer, store=probe_store, run="a", every=2, strict=True):
            run()
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def test_a_compiled_model_keeps_one_whole_graph_for_recorded_and_unrecorded_steps(store):
    assert graphs_and_breaks() == graphs_and_breaks(store) == (1, 0)


def test_a_compiled_training_step_gets_no_further_graph_or_break(store):
    bare, probed = graphs_and_breaks(whole_step=True), graphs_and_breaks(store, whole_step=True)
    assert probed[0] == bare[0]
    assert probed[1] <= bare[1]


def test_a_compiled_model_gives_the_numbers_of_the_eager_one(store, table):
    torch.compiler.reset()
    eager = make()
    compiled = copy.deepcopy(eager)
    for name, model in (("eager", eager), ("compiled", compiled)):
        forward = torch.compile(model, backend="aot_eager") if name == "compiled" else model
        optimizer, run = train(model, forward)
        with Probe(model, optimizer, store=store, run=name, every=2, strict=True):
            run()
    a, b = table("layers", run="eager"), table("layers", run="compiled")
    assert b["step"].unique().tolist() == [0, 2, 4]
    seen_in_backward = ["activation_grad_var", "activation_grad_sparsity"]  # a graph has no place for tensor hooks
    numbers = a.select_dtypes("number").columns.drop(seen_in_backward)
    np.testing.assert_allclose(b[numbers].astype(float), a[numbers].astype(float), rtol=1e-5, atol=1e-6)
    assert b[seen_in_backward].isna().all(axis=None)


def test_evaluation_passes_of_a_compiled_model_do_not_count(store, table):
    torch.compiler.reset()
    model = make()
    forward = torch.compile(model, backend="aot_eager")
    optimizer, run = train(model, forward, steps=1)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        model.eval()
        with torch.no_grad():
            forward(torch.randn(5, 6) * 1e6)
        model.train()
        run()
    assert (table("layers")["activation_var"] < 1e3).all()


def test_attaching_after_the_first_compiled_call_is_noticed_and_said(store, table, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr(torch._dynamo.config, "skip_nnmodule_hook_guards", True)  # as before the first probe
    model = make()
    optimizer, run = train(model, torch.compile(model, backend="aot_eager"), steps=1)
    run()
    with Probe(model, optimizer, store=store, run="a", every=1):
        with pytest.warns(RuntimeWarning, match="no forward hook ran.*attach first, or call torch.compiler.reset"):
            run()
        torch.compiler.reset()
        run()
    assert table("layers", layer="0")["activation_mean"].notna().tolist() == [False, True]
    assert "no forward hook ran" in table("runs")["gaps"].item()


def test_two_compiled_models_of_one_class_keep_their_records_apart(store, table):
    torch.compiler.reset()
    probes = []
    for name, scale in (("small", 1.0), ("large", 100.0)):
        model = make()
        model[0].weight.data.mul_(scale)
        optimizer, run = train(model, torch.compile(model, backend="aot_eager"), steps=1)
        probes.append((Probe(model, optimizer, store=store, run=name, every=1, strict=True), run))
    for _ in range(2):
        for _, run in probes:
            run()
    for probe, _ in probes:
        probe.close()
    small, large = (table("layers", run=name, layer="0")["activation_var"] for name in ("small", "large"))
    assert len(small) == len(large) == 2
    assert large.min() > 100 * small.max()
