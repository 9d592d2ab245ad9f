"""Which layers are before a nonlinearity, from the graph of an ordinary training pass."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dynamics.models import build
from probes import Probe


def feeds(model, x, store, **how):
    """Train for a step under a default probe; return the layers that feed a nonlinearity, and those that do not."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", strict=True, **how):
        model(x).square().mean().backward()
        optimizer.step()
    rows = pd.read_parquet(store / "layers")
    known = rows.dropna(subset=["feeds_nonlinearity"]).set_index("layer")["feeds_nonlinearity"]
    return {name for name, value in known.items() if value == 1}, {name for name, value in known.items() if value == 0}


class Forms(nn.Module):
    def __init__(self, behind):
        super().__init__()
        self.layer, self.last, self.behind = nn.Linear(4, 4), nn.Linear(4, 2), behind

    def forward(self, x):
        return self.last(self.behind(self.layer(x)))


@pytest.mark.parametrize(
    "behind",
    [
        nn.ReLU(inplace=True),
        F.gelu,
        nn.SiLU(),
        Tensor.tanh_,
        lambda x: x.clamp(min=0),
        lambda x: F.leaky_relu(F.dropout(x, 0.5) + x),
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))),
        nn.Sequential(nn.Unflatten(1, (4, 1)), nn.MaxPool1d(1), nn.Flatten(), nn.ELU()),
    ],
)
def test_a_nonlinearity_of_any_form_is_found(behind, store):
    assert feeds(Forms(behind), torch.randn(3, 4), store) == ({"layer"}, set())


def test_without_a_nonlinearity_there_is_none(store):
    assert feeds(Forms(nn.Identity()), torch.randn(3, 4), store) == (set(), {"layer"})


def test_before_a_prelu_is_the_layer_and_in_a_fused_norm_the_norm(store):
    class Fused(nn.BatchNorm1d):
        def forward(self, x):
            return F.relu(super().forward(x))

    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 4), Fused(4), nn.Linear(4, 2))
    assert feeds(model, torch.randn(3, 4), store) == ({"0", "3"}, {"1", "2"})


def test_in_a_transformer_it_is_the_first_linear_layer_of_each_block(store):
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
    model = nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(8, 2))
    before, others = feeds(model, torch.randn(3, 4, 5), store, every=1)
    assert before == {"1.layers.0.linear1", "1.layers.1.linear1"}
    assert {"1.layers.0.norm1", "1.layers.1.norm2", "1.layers.0.linear2", "0"} <= others


@pytest.mark.parametrize(
    ("norm", "before"), [("msn", "norm"), ("bn", "norm"), ("sn", "conv"), ("none", "conv"), ("released_msn", "norm")]
)
def test_in_the_papers_network_it_is_the_norm_or_the_convolution(norm, before, store):
    found, others = feeds(build("cnn3", norm, image_size=8), torch.randn(4, 1, 8, 8), store)
    assert found == {f"features.block{block}.{before}" for block in (1, 2, 3)}
    assert not {name for name in others if name.endswith(f".{before}")}


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_hides_nothing_or_says_nothing(reentrant, store):
    class Checkpointed(Forms):
        def forward(self, x):
            return self.last(checkpoint(lambda x: self.behind(self.layer(x)), x, use_reentrant=reentrant))

    before, others = feeds(Checkpointed(F.relu), torch.randn(3, 4, requires_grad=True), store)
    assert before in ({"layer"}, set())
    assert "layer" not in others
