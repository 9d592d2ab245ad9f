"""A transformer with a mixture of experts is trained bit for bit alike with every metric at every step.

Among them are the spectra of updates, the optimizer's moments, the heads of attentions and the experts of routers.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from probes import Probe
from probes.metrics import METRICS, OF_CALLS
from tests.probes.attention_models import WIDTH, Attention, Mixture
from tests.probes.trained import Trained

TOKENS = 11
OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD with momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "AdamW": partial(torch.optim.AdamW, lr=0.01),
    "AdamW, fused": partial(torch.optim.AdamW, lr=0.01, fused=True),
    "AdamW, AMSGrad": partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.01),
    "Adafactor": partial(torch.optim.Adafactor, lr=0.01),
    "NAdam": partial(torch.optim.NAdam, lr=0.01),
}
WITH_SECOND_MOMENTS = {"AdamW", "AdamW, fused", "AdamW, AMSGrad", "RMSprop", "NAdam"}
MODES = ["accumulation", "bfloat16", "checkpoint", "compiled"]


class Transformer(nn.Module):
    """A block with tied embeddings and dropout, so that the random stream matters."""

    def __init__(self, *, checkpointing: bool) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(TOKENS, WIDTH), nn.Linear(WIDTH, TOKENS, bias=False)
        self.head.weight = self.embedding.weight
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention, self.mixture = Attention("causal"), Mixture(lambda logits: logits.softmax(-1))
        self.checkpointing = checkpointing

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        y = self.norms[0](x)
        x = x + (checkpoint(self.attention, y, use_reentrant=False) if self.checkpointing else self.attention(y))
        x = x + F.dropout(self.mixture(self.norms[1](x)), 0.2, self.training)
        return self.head(x)


def train(optimizer_of, mode="eager", probe_with=None) -> Trained:
    torch.manual_seed(1)
    model = Transformer(checkpointing=mode == "checkpoint")
    optimizer = optimizer_of(model.parameters())
    probe = probe_with(model, optimizer) if probe_with else None
    forward = torch.compile(model, backend="aot_eager") if mode == "compiled" else model
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        for _ in range(2 if mode == "accumulation" else 1):
            tokens = torch.randint(TOKENS, (5, 8))
            with torch.autocast("cpu", torch.bfloat16) if mode == "bfloat16" else nullcontext():
                loss = F.cross_entropy(forward(tokens).flatten(0, 1), tokens.flatten())
            loss.backward()
        losses.append(loss.detach().clone())
        optimizer.step()
    if probe is not None:
        probe.close()
    return Trained(losses, model, optimizer)


@pytest.fixture
def probing(store):
    everything = dict.fromkeys([*METRICS, *(metric.name for metric in OF_CALLS)], 1)
    return partial(Probe, store=store, run="probed", every=everything, strict=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_bit_changes_under_any_optimizer(name, probing, store):
    assert train(OPTIMIZERS[name]).differences(train(OPTIMIZERS[name], probe_with=probing)) == []
    assert set(pd.read_parquet(store / "units")["layer"].astype(str)) == {"attention", "mixture"}
    recorded = pd.read_parquet(store / "layers")
    assert recorded[["update_spectral_norm", "grad_spectral_norm"]].notna().any().all()
    assert recorded["second_moment_root"].notna().any() == (name in WITH_SECOND_MOMENTS)


@pytest.mark.filterwarnings("ignore:probe. (activation gradients|.*precision casts|attention|router)")
@pytest.mark.parametrize("mode", [pytest.param(m, marks=[pytest.mark.slow] * (m == "compiled")) for m in MODES])
def test_no_bit_changes_in_other_ways_of_training(mode, probing):
    bare = train(OPTIMIZERS["AdamW"], mode)
    torch.compiler.reset()  # the bare model's graph would serve the probed one
    assert bare.differences(train(OPTIMIZERS["AdamW"], mode, probing)) == []
