"""Training with a probe at every step and every metric is bit for bit the training without."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dynamics.models import build
from probes import Probe
from probes.background.budget import Limits
from tests.probes.trained import Trained

NORMS = ["none", "bn", "sn", "msn", "released_sn", "released_msn", "wn", "torch_sn"]
MODES = ["accumulation", "amp", "checkpoint", "reentrant checkpoint", "compiled"]
EVERYTHING = {"channels": 1, "spectrum": 1, "operator_norm": 2, "weight_histogram": 1, "activation_histogram": 1}


class Network(nn.Module):
    """The 3-layer CNN with dropout, so that the random stream matters."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        network = build("cnn3", "none" if norm == "torch_sn" else norm, image_size=8)
        if norm == "torch_sn":
            for module in network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.utils.parametrizations.spectral_norm(module)
        self.features, self.classifier = network.features, network.classifier
        self.checkpointing: bool | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.checkpointing is None:
            x = self.features(x)
        else:
            x = checkpoint(self.features, x, use_reentrant=self.checkpointing)
        return self.classifier(F.dropout(x.flatten(1), 0.2, self.training))


def train(norm, probe_with=None, *, mode="eager", steps=4, disturb=lambda _: None):
    torch.manual_seed(1)
    model = Network(norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    probe = probe_with(model, optimizer) if probe_with else None
    model.checkpointing = {"checkpoint": False, "reentrant checkpoint": True}.get(mode)
    forward = torch.compile(model, backend="aot_eager") if mode == "compiled" else model
    scaler = torch.amp.GradScaler("cpu", enabled=mode == "amp", init_scale=256.0)
    autocast = torch.autocast("cpu", torch.bfloat16) if mode == "amp" else nullcontext()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(2 if mode == "accumulation" else 1):
            x = torch.randn(6, 1, 8, 8, requires_grad=mode == "reentrant checkpoint")
            with autocast:
                loss = F.cross_entropy(forward(x), torch.arange(6))
            scaler.scale(loss).backward()
        losses.append(loss.detach().clone())
        disturb(model)
        scaler.step(optimizer)
        scaler.update()
    if probe is not None:
        probe.close()
    return Trained(losses, model, optimizer)


@pytest.fixture(params=[False, True], ids=["at once", "in the background"])
def probing(store, request):
    """Return a probe that computes all metrics at once, or some of them while training goes on."""
    limits = Limits(idle=lambda: request.param, wake_copied=1)
    every = {**dict.fromkeys(GROUPS, 1), **EVERYTHING}
    batch = torch.randn(3, 1, 8, 8)
    return partial(Probe, store=store, run="probed", every=every, strict=True, probe_batch=batch, _limits=limits)


GROUPS = [
    "weights",
    "gradients",
    "activations",
    "singular_values",
    "kernel_slices",
    "updates",
    "gradient_noise",
    "optimizer",
    "saturation",
    "activation_gradients",
]


@pytest.mark.parametrize("norm", NORMS)
def test_a_probe_changes_no_bit_in_eager_training(norm, probing):
    assert train(norm).differences(train(norm, probing)) == []


@pytest.mark.filterwarnings("ignore:probe. activation gradients. null in compiled layers")  # named in `probing`
@pytest.mark.parametrize(
    ("norm", "mode"),
    [
        pytest.param(norm, mode, marks=[pytest.mark.slow] * (mode == "compiled" and norm != "msn"))
        for norm in ("bn", "msn", "torch_sn")
        for mode in MODES
    ],
)
def test_a_probe_changes_no_bit_in_other_ways_of_training(norm, mode, probing):
    bare = train(norm, mode=mode)
    torch.compiler.reset()  # the bare model's graph would serve the probed one
    assert bare.differences(train(norm, probing, mode=mode)) == []


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=[pytest.mark.slow] * (mode == "compiled")) for mode in ("eager", *MODES)]
)
def test_a_probe_that_records_now_and_then_changes_no_bit(mode, store):
    bare = train("msn", mode=mode, steps=7)
    torch.compiler.reset()
    seldom = partial(Probe, store=store, run="probed", every=3, strict=True, probe_batch=torch.randn(3, 1, 8, 8))
    assert bare.differences(train("msn", seldom, mode=mode, steps=7)) == []


def test_the_comparison_notices_reading_a_spectrally_normalised_weight():
    def read(model):
        model.classifier.weight  # noqa: B018 - the trap: reading in train mode runs a power iteration

    assert train("torch_sn").differences(train("torch_sn", disturb=read)) != []


def test_the_comparison_notices_a_moved_random_generator():
    assert "random state" in train("bn").differences(train("bn", disturb=lambda _: torch.rand(1)))


def test_a_probe_leaves_the_model_as_it_was(network, images, store):
    untouched = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with Probe(network, optimizer, store=store, run="a", every=1):
        pass
    for module, other in zip(network.modules(), untouched.modules(), strict=True):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert module.training == other.training
    assert not any(parameter._backward_hooks for parameter in network.parameters())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
