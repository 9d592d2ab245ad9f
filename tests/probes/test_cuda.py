"""On a GPU: the numbers of the CPU, and no wait for the device in the training thread."""

from __future__ import annotations

import copy
import json
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes import Probe

pytestmark = pytest.mark.gpu
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
METRICS += ["activation_gradients", "weight_histograms", "activation_histograms", "operator_norm", "optimizer", "state"]
METRICS += ["nonlinearities", "gradient_noise", "transformers"]
TOLERANCE = 1e-3  # of a value, or of the largest in its column
LOOSE = {"operator_norm": 1e-2}  # begins with other random numbers on another device, and ends within 0.1 %


def make():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 5))
    return model.extend([nn.Flatten(), nn.Linear(6 * 10 * 10, 4)])


def train(model, device, store, run, watched=nullcontext):
    model = model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(5, 3, 16, 16, generator=generator).to(device) for _ in range(4)]
    targets = torch.zeros(5, dtype=torch.int64, device=device)
    every = dict.fromkeys(METRICS, 1)
    with (
        Probe(model, optimizer, store=store, run=run, every=every, metrics=METRICS, strict=True) as probe,
        ExitStack() as stack,
    ):
        for step, x in enumerate(batches):
            if step == 1:
                stack.enter_context(watched())  # the first step allocates and agrees on layouts
            loss = F.cross_entropy(model(x), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)


@contextmanager
def waits_raise():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def assert_close(found, expected, column):
    tolerance = LOOSE.get(column, TOLERANCE)
    largest = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest, err_msg=column)


def test_the_gpu_gives_the_numbers_of_the_cpu(gpu, store, table):
    model = make()
    train(copy.deepcopy(model), "cpu", store, "here")
    train(model, gpu, store, "there")
    here, there = table("layers", run="here"), table("layers", run="there")
    assert here["layer"].tolist() == there["layer"].tolist()
    columns = here.select_dtypes("number").columns
    assert {"operator_norm", "spectral_norm", "grad_near_sparsity", "activation_grad_var"} <= set(columns)
    for column in columns:
        assert_close(there[column].to_numpy(float), here[column].to_numpy(float), column)


def test_the_gpu_gives_the_spectra_of_the_cpu(gpu, store, table):
    model = make()
    train(copy.deepcopy(model), "cpu", store, "here")
    train(model, gpu, store, "there")
    here, there = table("spectra", run="here"), table("spectra", run="there")
    assert here["layer"].tolist() == there["layer"].tolist() != []
    for a, b in zip(here["singular_values"], there["singular_values"], strict=True):
        assert_close(np.asarray(b), np.asarray(a), "singular_values")


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_no_recorded_step_waits_for_the_device(gpu, store, table):
    train(make(), gpu, store, "a", watched=waits_raise if gpu == "cuda" else nullcontext)
    assert table("layers", layer="0")["step"].tolist() == [0, 1, 2, 3]


def test_a_gradient_that_is_not_finite_is_recorded_as_soon_as_it_is_known(gpu, store, table):
    model = make().to(gpu)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Probe(model, optimizer, store=store, run="a", every=100, strict=True):
        for step in range(12):
            x = torch.randn(5, 3, 16, 16, device=gpu) * (float("nan") if step == 5 else 1)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            if gpu == "cuda":
                torch.cuda.synchronize()  # the loop's own: it is known at the next step then
    steps = sorted(set(table("layers")["step"]))
    assert steps == [0, 5, 6] or (
        gpu == "cuda" and steps == [0, 6, 7]
    )  # known before the optimizer has stepped, or not
    (note,) = [gap for gap in json.loads(table("runs")["gaps"].item()) if "not finite" in gap["what"]]
    assert note["first_step"] == 5


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_wait_for_the_device_is_noticed():
    number = torch.ones(1, device="cuda")
    with waits_raise(), pytest.raises(RuntimeError, match="synchroniz"):
        number.item()
