"""Whole spectra of large matrices are shared out over records, by shapes alone."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from probes import Probe
from probes.measuring.pricing import RECORD_SHARE, spectrum_flops, step_flops, take_turns
from probes.model.selection import select_layers


def test_what_fits_is_always_solved():
    turns = take_turns({0: 10.0, 1: 10.0}, step=80.0)
    assert turns.always == {0, 1}
    assert turns.slots == ()


@given(st.lists(st.floats(0.01, 1e3), min_size=1, max_size=30), st.floats(1.0, 1e3))
def test_every_matrix_has_its_turn_and_the_share_is_kept(costs, step):
    turns = take_turns(dict(enumerate(costs)), step)
    cycle = len(turns.slots) or 1
    times = Counter(index for record in range(cycle) for index in turns.at(record) - turns.always)
    assert turns.always | times.keys() == set(range(len(costs)))
    assert set(times.values()) <= {1}
    spent = cycle * sum(costs[index] for index in turns.always) + sum(costs[index] for index in times)
    assert spent <= RECORD_SHARE * step * cycle + max(costs)  # the last of a cycle may be dearer than its turn
    assert math.gcd(len(turns.slots), 10) <= 1 or not turns.slots


def test_the_price_of_a_step_is_three_forwards():
    model = nn.Sequential(nn.Linear(8, 16), nn.Conv1d(16, 4, 3))
    layers = {layer.index: layer for layer in select_layers(model).layers}
    shapes = {0: ((5000, 8), (5000, 16)), 1: ((5000, 16, 9), (5000, 4, 7))}
    assert step_flops(layers, shapes) == 3 * 2 * 5000 * (8 * 16 + 7 * 16 * 4 * 3)
    few = {0: ((1, 8), (1, 16)), 1: ((1, 16, 9), (1, 4, 7))}
    assert 0 < step_flops(layers, few) < step_flops(layers, shapes)  # calls cost something however small a layer is
    assert spectrum_flops(3, 100) == spectrum_flops(100, 3)


class Wide(nn.Module):
    """Large matrices and few inputs: spectra are dear beside a step."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(96, 96) for _ in range(4)], nn.Linear(96, 2))

    def forward(self, x):
        return self.layers(x)


def train(store, steps, **how):
    model = Wide()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with Probe(model, optimizer, store=store, run="a", strict=True, **how):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(64, 96)).square().mean().backward()
            optimizer.step()
    return model


def test_large_matrices_take_turns_and_have_cheap_norms_in_between(store, table):
    train(store, 600, every=10)
    rows = table("layers")
    large, small = rows[rows["layer"] != "layers.4"], rows[rows["layer"] == "layers.4"]
    assert small["singular_value_mean"].notna().all()
    assert large["singular_value_mean"].isna().mean() > 0.5
    assert set(large[large["singular_value_mean"].notna()]["layer"]) == set(large["layer"])
    assert rows["spectral_norm"].notna().all()
    assert rows["stable_rank"].notna().all()
    assert set(table("spectra")["layer"]) >= {"layers.4"}
    # Each layer's norm moves little from record to record, whichever way it was found.
    for _, layer in large.groupby("layer", observed=True):
        norms = layer.sort_values("step")["spectral_norm"]
        assert (norms / norms.iloc[0] - 1).abs().max() < 0.05


def test_the_run_says_which_layers_take_turns(store, table):
    import json

    train(store, 20, every=10)
    told = [gap for gap in json.loads(table("runs")["gaps"].iloc[0]) if gap["what"] == "whole spectra"]
    assert set(told[0]["intervals"]) == {f"layers.{i}" for i in range(4)}
    assert all(steps % 10 == 0 for steps in told[0]["intervals"].values())


@pytest.mark.parametrize("every", [1, {"singular_values": 10}, lambda step: step % 10 == 0])
def test_who_asks_for_spectra_gets_all_of_them(every, store, table):
    train(store, 20, every=every)
    rows = table("layers")
    measured = rows[rows["spectral_norm"].notna()]
    assert len(measured)
    assert measured["singular_value_mean"].notna().all()
