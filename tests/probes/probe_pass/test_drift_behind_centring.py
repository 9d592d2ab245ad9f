"""Drift that mean-centring defines away in training, measured on the probe batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import channel_drift, channels
from dynamics.models import build
from dynamics.norms.mean_centring import MeanCentring
from probes import Probe

LAST = "features.block3.norm"
SHIFT = torch.linspace(-0.6, 1.0, 32)  # one a channel


def drift_after(change, store):
    """Return both kinds of drift of an MSN network's last centring after a change of the network between two steps."""
    torch.manual_seed(0)
    model, batch = build("cnn3", "msn", image_size=8), torch.randn(16, 1, 8, 8)
    for module in model.modules():
        if isinstance(module, MeanCentring):
            module.momentum = 1.0
    with torch.no_grad():
        for _ in range(150):  # until the power iterations stand still
            model(batch)
    for module in model.modules():
        if isinstance(module, MeanCentring):
            module.momentum = 0.0  # settled, and left behind by what comes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    every = {"channels": 1, "activations": 1}
    with Probe(model, optimizer, store=store, run="msn", every=every, probe_batch=batch, strict=True):
        for _ in range(2):
            model(batch).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                change(model.get_submodule(LAST.rpartition(".")[0]))
    rows = channels(store)
    layer = channel_drift(rows).set_index(["layer", "step"]).xs((LAST, 1))
    training = pd.read_parquet(store / "layers").set_index(["layer", "step"]).xs((LAST, 1))
    deviation = rows[(rows["layer"] == LAST) & (rows["step"] == 1)]["deviation"].to_numpy("float64")
    return layer, float(training["activation_drift"]), float(np.sqrt(np.mean(deviation**2)))


def rms(values):
    return float(values.double().square().mean().sqrt())


def test_a_drift_that_centring_removes_in_training_shows_on_the_probe_batch(store):
    def change(block):
        block.conv.bias += SHIFT

    layer, training, deviation = drift_after(change, store)
    assert training < 1e-5  # the batch's own mean takes it away
    assert layer["unlearned_drift"] == pytest.approx(rms(SHIFT) / deviation, rel=1e-4)
    assert layer["running_gap"] == pytest.approx(rms(SHIFT) / deviation, rel=1e-4)  # of the input, shifted as a whole
    assert layer["unlearned_mean"] == pytest.approx(rms(SHIFT) / deviation, rel=1e-4)


def test_a_learned_mean_that_moves_alone_is_no_unlearned_drift(store):
    def change(block):
        block.norm.bias += SHIFT

    layer, training, deviation = drift_after(change, store)
    assert training == pytest.approx(rms(SHIFT), rel=1e-5)  # what is recorded in training is m, by construction
    assert layer["unlearned_drift"] < 1e-5
    assert layer["seen_drift"] == pytest.approx(rms(SHIFT) / deviation, rel=1e-4)


def test_without_a_change_nothing_drifts(store):
    layer, training, _ = drift_after(lambda _: None, store)
    assert training < 1e-6
    assert layer[["seen_drift", "unlearned_drift"]].max() < 1e-5
    assert layer["running_gap"] < 1e-6
