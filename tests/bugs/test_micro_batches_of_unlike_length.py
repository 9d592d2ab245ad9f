"""Micro-batches of unlike length cost every layer its activation statistics where one normalises heads, as Qwen3 does.

Found by training Qwen3 (``q_norm`` over ``(batch, position, heads, head_dim)``) with padded micro-batches.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

COLUMNS = ["activation_mean", "activation_var", "activation_drift", "dead_fraction", "saturated_fraction"]
GROUPS = dict.fromkeys(["activations", "saturation"], 1)


class HeadNorm(nn.Module):
    """A norm over each head, ``(batch, position, heads, d)``, as RMS norms of attention are written."""

    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(d))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.q_norm, self.out = nn.Linear(16, 16), HeadNorm(8), nn.Linear(16, 4)

    def forward(self, x):
        return self.out(self.q_norm(self.q(x).view(*x.shape[:-1], -1, 8)).flatten(-2))


def test_a_norm_over_heads_counts_their_entries_as_channels_whatever_the_lengths(record):
    model, seen = Attention(), []
    model.q_norm.register_forward_hook(lambda _m, _i, out: seen.append(out.detach().double().reshape(-1, 8)))
    batches = [torch.randn(2, length, 16) for length in (11, 10)]
    found = record(model, [lambda m, x=x: m(x).square().mean() for x in batches], every=GROUPS)
    whole, row = torch.cat(seen), found["q_norm"]
    assert row["activation_mean"] == pytest.approx(whole.mean().item(), rel=1e-5)
    assert row["dead_fraction"] == (whole.amax(0) <= 0).double().mean().item()
    assert found.layers[COLUMNS].notna().all().all()
    assert found.gaps == []


class Positions(nn.Module):
    """Nothing says which dimension of ``(batch, position, head, feature)`` counts channels: positions are taken."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x.view(*x.shape[:-1], 2, 8) * self.scale


def test_channels_that_change_with_the_length_cost_what_is_told_by_channel_and_nothing_else(record):
    model = nn.Sequential(nn.Linear(16, 16), Positions())
    batches = [torch.randn(2, length, 16) for length in (11, 10)]
    found = record(model, [lambda m, x=x: m(x).square().mean() for x in batches], every=GROUPS)
    assert found["0"][COLUMNS].notna().all()
    odd = found["1"][COLUMNS].isna()
    assert odd[odd].index.tolist() == ["activation_drift", "dead_fraction"]


def test_qwen3_is_recorded_in_full(record):
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(
        vocab_size=97,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        head_dim=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model, seen = transformers.Qwen3ForCausalLM(config).train(), []
    last = "model.layers.1.mlp.down_proj"
    model.get_submodule(last).register_forward_hook(lambda _m, _i, out: seen.append(out.detach().flatten()))
    batches = [torch.randint(3, 97, (2, length)) for length in (11, 10)]
    found = record(model, [lambda m, ids=ids: m(input_ids=ids, labels=ids).loss / 2 for ids in batches], every=GROUPS)
    assert found[last]["activation_mean"] == pytest.approx(torch.cat(seen).double().mean().item(), rel=1e-4, abs=1e-7)
    assert found.layers[COLUMNS].notna().all().all()
