"""On a GPU: the numbers of the CPU, and no wait for the device in the training thread."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
METRICS = [
    "weights",
    "gradients",
    "activations",
    "singular_values",
    "kernel_slices",
    "updates",
    "saturation",
    "spectra",
]
METRICS += ["activation_gradients", "weight_histograms", "activation_histograms", "operator_norm"]


def make():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 5))
    return model.extend([nn.Flatten(), nn.Linear(6 * 10 * 10, 4)])


def train(model, device, store, run, before_step=lambda: None):
    model = model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(5, 3, 16, 16, generator=generator).to(device) for _ in range(4)]
    targets = torch.zeros(5, dtype=torch.int64, device=device)
    every = dict.fromkeys(METRICS, 1)
    with Probe(model, optimizer, store=store, run=run, every=every, metrics=METRICS, strict=True) as probe:
        for step, x in enumerate(batches):
            if step == 1:
                before_step()  # the first step allocates and agrees on layouts
            loss = F.cross_entropy(model(x), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)
        torch.cuda.set_sync_debug_mode("default")


def test_the_gpu_gives_the_numbers_of_the_cpu(store, table):
    model = make()
    train(copy.deepcopy(model), "cpu", store, "cpu")
    train(model, "cuda", store, "cuda")
    a, b = table("layers", run="cpu"), table("layers", run="cuda")
    numbers = a.select_dtypes("number").columns
    np.testing.assert_allclose(b[numbers].astype(float), a[numbers].astype(float), rtol=1e-2, atol=1e-4)


def test_no_recorded_step_waits_for_the_device(store, table):
    train(make(), "cuda", store, "a", before_step=lambda: torch.cuda.set_sync_debug_mode("error"))
    assert table("layers", layer="0")["step"].tolist() == [0, 1, 2, 3]
