"""Under torch.compile: the same numbers, one graph for recorded and unrecorded steps, no break of the probe's own."""

from __future__ import annotations

import copy
import json
import warnings
from contextlib import nullcontext

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
    # A graph has no place for tensor hooks, and hides which operation follows a layer.
    unseen = ["activation_grad_var", "activation_grad_sparsity", "feeds_nonlinearity"]
    numbers = a.select_dtypes("number").columns.drop(unseen)
    np.testing.assert_allclose(b[numbers].astype(float), a[numbers].astype(float), rtol=1e-5, atol=1e-6)
    assert b[unseen].isna().all(axis=None)
    assert a[unseen].notna().any().all()


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


@pytest.mark.usefixtures("no_hook_guards_held")  # with it, Dynamo compiles anew for the hooks, and misses none
def test_attaching_after_the_first_compiled_call_is_noticed_and_said(store, table):
    torch.compiler.reset()
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


def gaps(store, table, **settings):
    """Train two recorded steps under a compiled model and return the run's gaps and the warnings."""
    torch.compiler.reset()
    model = make()
    optimizer, run = train(model, torch.compile(model, backend="aot_eager"), steps=2)
    with warnings.catch_warnings(record=True) as said, Probe(model, optimizer, store=store, run="a", **settings):
        warnings.simplefilter("always")
        run()
    messages = [str(warning.message) for warning in said if warning.category is RuntimeWarning]
    return json.loads(table("runs")["gaps"].item()), messages


@pytest.mark.parametrize(
    "settings",
    [
        {"metrics": ["activation_gradients"], "every": 1},
        {"metrics": ["weights", "activation_gradient"], "every": 1},
        {"every": {"activation_gradients": 1}},
    ],
)
def test_gradients_of_outputs_that_were_asked_for_by_name_are_said_to_be_missing_once(settings, store, table):
    kept, said = gaps(store, table, **settings)
    assert len(said) == 1
    assert "activation gradients: null in compiled layers" in said[0]
    assert "activation gradients" in {gap["what"] for gap in kept} <= {"activation gradients", "whole spectra"}


def test_gradients_of_outputs_that_nobody_asked_for_are_missing_with_a_note_alone(store, table):
    kept, said = gaps(store, table, every=1)
    assert said == []
    assert [gap["what"] for gap in kept] == ["activation gradients"]


def test_nothing_is_said_of_what_is_not_recorded(store, table):
    assert gaps(store, table, every=1, metrics=["weights", "activations"]) == ([], [])


def compiled_training(precision, probe_with=None, *, backend="inductor"):
    """Return the losses and weights of a training whose model is compiled."""
    torch.compiler.reset()
    torch.manual_seed(0)
    first = nn.Linear(6, 48), nn.BatchNorm1d(48), nn.ReLU()
    model = nn.Sequential(*first, nn.Linear(48, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 9))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    with probe_with(model, optimizer) if probe_with else nullcontext():
        forward = torch.compile(model, backend=backend)
        for x in torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(1)):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = forward(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return [*losses, *model.state_dict().values()]


def differs(precision, store, **settings):
    """Return whether a probe changes a bit under torch's own compiler, which calls the machine's C++ compiler."""

    def probe_with(model, optimizer):
        return Probe(model, optimizer, store=store, run="a", every=1, strict=True, **settings)

    bare, again, probed = (compiled_training(precision, each) for each in (None, None, probe_with))
    assert all(map(torch.equal, bare, again))
    return not all(map(torch.equal, bare, probed))


@pytest.mark.slow
@pytest.mark.usefixtures("inductor_cache")
def test_under_inductor_training_is_bitwise_that_without_a_probe(store):
    assert not differs("float32", store)


@pytest.mark.slow
@pytest.mark.usefixtures("inductor_cache")
def test_under_inductor_in_reduced_precision_it_is_so_without_metrics_of_activations(store):
    assert not differs("bfloat16", store, metrics=["weights", "gradients", "singular_values", "updates"])


@pytest.mark.slow
@pytest.mark.usefixtures("inductor_cache")
def test_under_inductor_in_reduced_precision_it_is_so_where_casts_are_emulated(store):
    with torch._inductor.config.patch(emulate_precision_casts=True):
        assert not differs("bfloat16", store)


@pytest.mark.slow
@pytest.mark.usefixtures("inductor_cache")
def test_under_inductor_in_reduced_precision_other_roundings_are_warned_of(store):
    with pytest.warns(RuntimeWarning, match="training may differ in the last bits.*emulate_precision_casts = True"):
        assert differs("bfloat16", store)


def roundings_warned_of(store, **settings):
    """Return how often a probe on a model compiled in reduced precision warns of other roundings."""

    def probe_with(model, optimizer):
        return Probe(model, optimizer, store=store, run="a", every=1, strict=True, **settings)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compiled_training("bfloat16", probe_with, backend="aot_eager")
    return sum("training may differ in the last bits" in str(warning.message) for warning in said)


def test_other_roundings_in_reduced_precision_are_warned_of_once(store):
    assert roundings_warned_of(store) == 1


def test_no_rounding_is_warned_of_where_activations_are_not_observed_or_casts_emulated(store):
    assert roundings_warned_of(store, metrics=["weights", "gradients"]) == 0
    with torch._inductor.config.patch(emulate_precision_casts=True):
        assert roundings_warned_of(store, overwrite=True) == 0


def test_a_program_exported_between_two_steps_runs_without_the_probe_and_spoils_no_record(store, table):
    model = make()
    optimizer, run = train(model, model, steps=1)
    x = torch.randn(5, 6)
    with Probe(model, optimizer, store=store, run="a", every=1, strict=True):
        run()
        program = torch.export.export(model, (x,), strict=False)
        run()
    assert "meandrift" not in str(program.graph)
    assert (table("layers")["activation_var"] > 0).all()
    assert table("layers")["step"].unique().tolist() == [0, 1]


def test_in_a_cuda_graph_activations_are_null_and_said_to_be(store, table, monkeypatch):
    monkeypatch.setattr("probes.hooks.compiled.is_captured", lambda _: True)  # as while Inductor prepares one
    torch.compiler.reset()
    model = make()
    optimizer, run = train(model, torch.compile(model, backend="aot_eager"))
    with (
        pytest.warns(RuntimeWarning, match="null inside CUDA graphs") as caught,
        Probe(model, optimizer, store=store, run="a", every=1),
    ):
        run()
    assert len(caught) == 1
    layers = table("layers")
    assert layers["activation_var"].isna().all()
    assert layers.loc[layers["layer"] == "0", "grad_var"].notna().all()
