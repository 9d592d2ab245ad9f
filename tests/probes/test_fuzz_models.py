"""Random models under random loops: nothing is raised, training is bitwise the same, every missing value has a gap."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from probes import Probe
from probes.hooks.seen_tensor import first_tensor
from tests.scripts import load_script

STEPS = 3


random_models = load_script(Path(__file__).with_name("random_models.py"))


def made(number):
    torch.manual_seed(number)
    choose = random.Random(number)
    model = random_models.RandomModel(choose)
    return model, random_models.RandomLoop(choose, model)


def state_after(model, loop):
    tensors = [*model.state_dict().values(), torch.random.get_rng_state()]
    for optimizer in loop.optimizers:
        tensors += [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return tensors


def same(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def measured(store):
    """Return layer and step of each row, and of each column whether it is not null: a NaN is measured."""
    table = pq.read_table(store / "layers")
    known = {name: table[name].is_valid().to_pylist() for name in table.column_names}
    return pd.DataFrame({**known, **{key: table[key].to_pylist() for key in ("layer", "step")}})


class Truth:
    """Hooks of the test's own, which note what a record must hold."""

    def __init__(self, model):
        self.called = set()
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _m, _a, out, name=name: self._note(name, out, model))

    def _note(self, name, out, model):
        tensor = first_tensor(out)
        if model.training and torch.is_grad_enabled() and tensor is not None and tensor.is_floating_point():
            self.called.add(name)


@pytest.mark.parametrize("number", [*range(20), *(pytest.param(n, marks=pytest.mark.slow) for n in range(20, 200))])
def test_a_random_training_is_recorded_whole_and_not_changed(number, store):
    bare_model, bare_loop = made(number)
    for _ in range(STEPS):
        bare_loop.step()
    expected = state_after(bare_model, bare_loop)

    model, loop = made(number)
    truth = Truth(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Probe(model, loop.optimizers, store=store, run="a", every=1) as probe:
            for _ in range(STEPS):
                loop.step()
            found = state_after(model, loop)
            trained = {n: p.grad is not None for n, p in model.named_parameters() if p.requires_grad}
            observed = {layer.name: layer for layer in probe._selection.layers}
    assert len(found) == len(expected)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True)), loop.kind

    layers = measured(store)
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].iloc[0])
    named = {gap.get("layer") for gap in gaps}
    lacking = []
    for name, layer in observed.items():
        rows = layers[layers["layer"] == name]
        needed = ["weight_mean"] if layer.weight is not None else []
        if layer.observes_output and name in truth.called:
            needed.append("activation_mean")
        if layer.weight is not None and trained.get(f"{name}.weight"):
            needed.append("grad_l2_norm")
        lacking += [(name, column) for column in needed if name not in named and rows[column].sum() < STEPS]
    assert not lacking, (loop.kind, gaps)
    parameters = pd.read_parquet(store / "parameters")
    assert set(parameters["parameter"]) >= {n for n in trained if "parametrizations" not in n}
