"""What metrics do on a GPU, done on the CPU: the same numbers, in few calls."""

from __future__ import annotations

import tempfile
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from probes import Probe
from probes.metrics import METRICS

LOOSE = {"operator_norm": 1e-2}  # from a power iteration whose last rounding differs


def network(width=4, depth=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 5), nn.BatchNorm2d(width), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1, groups=2), nn.BatchNorm2d(width), nn.Tanh()]
    return nn.Sequential(
        *layers, nn.ConvTranspose2d(width, 70, 3, stride=2), nn.Flatten(), nn.LazyLinear(7), nn.GELU(), nn.Linear(7, 4)
    )


def train(store, run, *, steps=3, model=None, sick=None, **settings):
    model = model or network()
    model(torch.zeros(2, 3, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    with Probe(model, optimizer, store=store, run=run, strict=True, **settings):
        for step in range(steps):
            x = torch.randn(6, 3, 8, 8, generator=generator)
            if step == sick:
                x[1, 2, 3, 4] = float("inf")
            optimizer.zero_grad()
            for part in x.chunk(2):
                F.cross_entropy(model(part), torch.arange(3)).backward()
            optimizer.step()


@pytest.mark.parametrize("sick", [None, 1])
@pytest.mark.parametrize("name", ["layers", "parameters", "histograms", "spectra"])
def test_a_record_made_as_on_a_device_is_that_of_the_host(name, sick, store, table, request):
    every = dict.fromkeys(METRICS, 1)
    train(store, "host", every=every, sick=sick)
    request.getfixturevalue("as_on_a_device")
    train(store, "device", every=every, sick=sick)
    host, device = table(name, run="host"), table(name, run="device")
    assert len(host) == len(device) > 0
    for column in host.columns.drop("run"):
        if column in {"counts", "singular_values"}:
            for here, there in zip(host[column], device[column], strict=True):
                np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-5 * np.max(np.abs(here), initial=0))
        elif host[column].dtype.kind in "fiu":
            here, there = host[column].to_numpy(float), device[column].to_numpy(float)
            largest = np.max(np.abs(here[np.isfinite(here)]), initial=0)
            tolerance = LOOSE.get(column, 1e-4)
            np.testing.assert_allclose(there, here, rtol=tolerance, atol=tolerance * largest, err_msg=column)
        else:
            assert host[column].tolist() == device[column].tolist(), column


NO_KERNELS = {"view", "_unsafe_view", "permute", "transpose", "t", "expand", "slice", "select", "unsqueeze", "squeeze"}
NO_KERNELS |= {"detach", "alias", "split", "split_with_sizes", "unbind", "as_strided", "diagonal", "empty", "chunk"}
NO_KERNELS |= {"empty_like", "new_empty"}


class Calls(TorchDispatchMode):
    """Count the calls that a GPU would have to be given one by one."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.__name__.partition(".")[0]
        self.counts[name] += name not in NO_KERNELS
        return operator(*args, **(kwargs or {}))


def calls(depth, group):
    """Return the calls of a recorded step, those of the step itself left out."""
    found = []
    for settings in (None, {"every": {group: 1}, "metrics": [group]}):
        model = network(depth=depth)
        model(torch.zeros(2, 3, 8, 8))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        with tempfile.TemporaryDirectory() as folder:
            probe = Probe(model, optimizer, store=folder, run="a", **settings) if settings else None
            for _ in range(2):
                with Calls() as counted:
                    optimizer.zero_grad()
                    model(torch.ones(2, 3, 8, 8)).sum().backward()
                    optimizer.step()
            if probe is not None:
                probe.close()
        found.append(counted.counts.total())
    return found[1] - found[0]


@pytest.mark.parametrize(("group", "most"), [("weights", 1), ("gradients", 1), ("activations", 3), ("saturation", 4)])
def test_a_further_layer_costs_a_device_few_calls(group, most, as_on_a_device):
    few, many = calls(3, group), calls(23, group)
    assert few > 5
    assert (many - few) / 40 <= most  # 20 convolutions and 20 norms more
