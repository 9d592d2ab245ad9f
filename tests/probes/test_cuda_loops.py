"""On a GPU: training with the probe is bit for bit training without, in the ways people train there.

Two bare trainings are compared first. Algorithms that add in any order are switched off, so that they are equal.
"""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from probes import Probe
from probes.metrics import METRICS

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("inductor_cache")]
STEPS = 4


class Net(nn.Module):
    """Convolutions, a norm, dropout and an attention block, with activation checkpointing if asked for."""

    def __init__(self, *, spectral=False, checkpointed=False):
        super().__init__()
        second = nn.Conv2d(16, 24, 3, stride=2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.utils.parametrizations.spectral_norm(second) if spectral else second,
            nn.GELU(),
        )
        self.norm = nn.LayerNorm(24)
        self.qkv = nn.Linear(24, 72)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(24, 10)
        self.checkpointed = checkpointed

    def forward(self, x):
        x = checkpoint(self.features, x, use_reentrant=False) if self.checkpointed else self.features(x)
        x = x.flatten(2).mT
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=2)
        x = x + F.scaled_dot_product_attention(q, k, v)
        return self.head(self.drop(x).mean(1))


HOW = {
    "plain": {},
    "channels last": {"channels_last": True},
    "fused": {"adam": {"fused": True}},
    "foreach": {"adam": {"foreach": True}},
    "capturable": {"adam": {"capturable": True}},
    "bfloat16": {"autocast": torch.bfloat16},
    "float16 and a scaler": {"autocast": torch.float16, "scaler": True},
    "float16, a scaler, fused": {"autocast": torch.float16, "scaler": True, "adam": {"fused": True}},
    "checkpointed": {"net": {"checkpointed": True}},
    "torch's spectral norm": {"net": {"spectral": True}},
    "a stream of its own": {"stream": True},
    "accumulated": {"parts": 2},
    "compiled": {"compile": {}},
    "cuda graphs": {"compile": {"mode": "reduce-overhead"}},
}


def train(device, store, *, net=None, adam=None, autocast=None, scaler=False, channels_last=False, stream=False,
          parts=1, compile=None, every=None):  # fmt: skip
    """Train from a fixed seed; return losses, parameters, buffers, optimizer state and random generators."""
    torch.manual_seed(0)
    torch.compiler.reset()
    model = Net(**net or {}).to(device)
    images = torch.randn(STEPS, 8, 3, 12, 12).to(device)
    if channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **adam or {})
    scale = torch.amp.GradScaler(device, enabled=scaler)
    probe = Probe(model, optimizer, store=store, run="a", every=every) if every else None
    called = torch.compile(model, **compile) if compile is not None else model
    labels = (torch.arange(8) % 10).to(device)
    losses = []
    beside = torch.cuda.Stream() if stream and device == "cuda" else None
    if beside is not None:
        beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside) if beside is not None else nullcontext():
        for batch in images:
            optimizer.zero_grad()
            for x, y in zip(batch.chunk(parts), labels.chunk(parts), strict=True):
                with torch.autocast(device, autocast, enabled=autocast is not None):
                    loss = F.cross_entropy(called(x), y)
                scale.scale(loss / parts).backward()
            scale.step(optimizer)
            scale.update()
            losses.append(loss.detach().clone())
            if probe is not None:
                probe.log(loss=loss)
    if device == "cuda":
        torch.cuda.synchronize()
    if probe is not None:
        probe.close()
    states = [value for state in optimizer.state.values() for value in state.values()]
    random = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if device == "cuda" else [])]
    return [torch.as_tensor(each).cpu() for each in (*losses, *model.state_dict().values(), *states, *random)]


def equal(one, other):
    return len(one) == len(other) and all(
        torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("how", HOW)
def test_training_is_the_same_with_a_probe(how, gpu, store, table, deterministic):
    if gpu == "cpu" and HOW[how].get("adam"):
        pytest.skip("an optimizer for GPUs")
    every = dict.fromkeys(METRICS, 1)
    bare, again = (train(gpu, store, **HOW[how]) for _ in range(2))
    assert equal(bare, again), "two trainings without a probe differ: nothing can be said"
    probed = train(gpu, store, every=every, **HOW[how])
    assert equal(bare, probed)
    layers = table("layers")
    assert sorted(set(layers["step"])) == list(range(STEPS))
    weighted = layers[layers["layer"].isin(["features.0", "features.3", "qkv", "head"])]
    assert len(weighted) == 4 * STEPS
    assert weighted[["weight_var", "grad_var", "update_ratio", "spectral_norm"]].notna().all().all()
    replayed = how == "cuda graphs" and gpu == "cuda"  # without Python
    assert weighted["activation_var"].notna().all() or replayed
    gaps = [gap for gap in json.loads(table("runs")["gaps"].item() or "[]") if "count" in gap]
    assert gaps == []


@pytest.mark.parametrize("how", ["bfloat16", "float16 and a scaler", "compiled"])
def test_a_disturbance_would_be_seen(how, gpu, store, deterministic):
    bare = train(gpu, store, **HOW[how])
    other = train(gpu, store, **{**HOW[how], "parts": 2})
    assert not equal(bare, other)
