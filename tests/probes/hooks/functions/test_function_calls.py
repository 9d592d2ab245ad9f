"""Heads and experts: against float64, against the framework's own logits and loads, and without a trace."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from probes import Probe
from probes.hooks.functions.attention_calls import attention_parts
from probes.metrics.attention import head_sums, head_vector, merged_heads, spread_places
from probes.metrics.router import expert_sums, expert_vector, merged_experts
from tests.probes.attention_models import HEADS, WIDTH, Attention, Mixture

LENGTH, BATCH = 7, 5


class Block(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.norm, self.attn, self.checkpointing = nn.LayerNorm(WIDTH), Attention(way), False

    def forward(self, x):
        y = self.norm(x)
        return x + (checkpoint(self.attn, y, use_reentrant=False) if self.checkpointing else self.attn(y))


WAYS = ["causal", "boolean mask", "added mask", "eager", "method"]


def model_of(way: str = "causal", blocks: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(Block(way) for _ in range(blocks)), nn.Linear(WIDTH, 4))


def step(model, optimizer, x):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def record(model, store, *, x=None, steps=1, forward=None, run="a", **settings):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1)) if x is None else x
    settings = {"every": {"transformers": 1}, "metrics": ["transformers"], "strict": True, **settings}
    with Probe(model, optimizer, store=store, run=run, **settings):
        return [step(forward or model, optimizer, x) for _ in range(steps)]


def numbers_of_numpy(logits: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return largest logit and mean entropy of each head of ``(batch, head, query, key)``, in float64."""
    z = logits.double().numpy()
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    return z.max((0, 2, 3)), entropy.mean((0, 2))


@pytest.mark.parametrize("way", WAYS)
def test_heads_have_the_logits_and_entropies_of_the_framework(way, store):
    model = model_of(way)
    record(model, store)
    rows = pd.read_parquet(store / "units").astype({"layer": str, "layer_type": str})
    assert rows["layer"].unique().tolist() == ["0.attn", "1.attn"]
    assert rows["layer_type"].unique().tolist() == ["Attention"]
    for name, mine in rows.groupby("layer"):
        largest, entropy = numbers_of_numpy(model.get_submodule(name).logits)
        assert mine["unit"].tolist() == list(range(HEADS))
        np.testing.assert_allclose(mine["attention_logit_max"], largest, rtol=1e-5)
        np.testing.assert_allclose(mine["attention_entropy"], entropy, rtol=1e-5)
        assert mine[["router_load", "router_entropy"]].isna().all(axis=None)


@pytest.mark.parametrize("form", ["plain", "boolean", "float", "per head", "padding", "batch first", "cross"])
def test_multi_head_attention_has_the_entropies_of_its_own_weights(form, store):
    torch.manual_seed(0)
    extra = {"kdim": 6, "vdim": 6} if form == "cross" else {}
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=form == "batch first", **extra)
    x = torch.randn(LENGTH, BATCH, WIDTH) if form != "batch first" else torch.randn(BATCH, LENGTH, WIDTH)
    other = torch.randn(4, BATCH, 6) if form == "cross" else x
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    masks = {
        "boolean": {"attn_mask": causal},
        "float": {"attn_mask": torch.randn(LENGTH, LENGTH)},
        "per head": {"attn_mask": torch.randn(BATCH * HEADS, LENGTH, LENGTH)},
        "padding": {"key_padding_mask": torch.arange(LENGTH).expand(BATCH, -1) >= 5},
    }.get(form, {})

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.weights = attention, None

        def forward(self, x):
            y, weights = self.attention(x, other, other, average_attn_weights=False, **masks)
            self.weights = weights.detach().double()
            return y

    model = Model()
    record(model, store, x=x)
    rows = pd.read_parquet(store / "units")
    entropy = torch.special.entr(model.weights).sum(-1).mean((0, 2))
    assert rows["layer"].unique().tolist() == ["attention"]
    np.testing.assert_allclose(rows["attention_entropy"], entropy, rtol=1e-5)
    assert rows["attention_logit_max"].notna().all()


def test_grouped_queries_share_the_keys_of_their_group():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 5, 4, dtype=torch.float64, generator=generator)
    k = torch.randn(2, 3, 8, 4, dtype=torch.float64, generator=generator)
    parts = attention_parts(F.scaled_dot_product_attention, (q, k, k), {"enable_gqa": True, "scale": 0.3})
    largest, entropy = numbers_of_numpy(q @ k.repeat_interleave(2, 1).mT * 0.3)
    _, _, *numbers = head_vector(merged_heads(parts)).tolist()
    np.testing.assert_allclose(numbers, [*largest, *entropy], rtol=1e-12)


def test_of_many_queries_a_sample_is_exact_and_no_whole_matrix_is_made(monkeypatch):
    q, k = torch.randn(20, 2, 300, 4), torch.randn(20, 2, 300, 4)
    sizes = []
    parts = attention_parts(F.scaled_dot_product_attention, (q, k, k), {})
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim: sizes.append(x.shape) or torch.softmax(x, dim))
    attention_parts(F.scaled_dot_product_attention, (q, k, k), {})
    assert set(sizes) == {(2, 32, 300)}
    assert len(sizes) == len(parts) <= 8
    rows = spread_places(300, 32, q.device)
    samples = range(20)[::3]
    largest, entropy = numbers_of_numpy((q[samples] @ k[samples].mT / 2)[:, :, rows])
    _, _, *numbers = head_vector(merged_heads(parts)).tolist()
    np.testing.assert_allclose(numbers, [*largest, *entropy], rtol=1e-5)


def test_nan_stays_and_a_query_without_keys_does_not_count():
    logits = torch.randn(1, 3, 4)
    assert head_vector(head_sums(torch.full((1, 3, 4), torch.nan)))[2:].isnan().all()
    allowed = torch.tensor([[True] * 4, [True] * 4, [False] * 4])
    expected = head_vector(head_sums(logits[:, :2]))
    torch.testing.assert_close(head_vector(head_sums(logits, allowed)), expected)
    assert head_vector(head_sums(logits, allowed & False))[2:].isnan().all()
    assert head_vector(head_sums(torch.zeros(2, 0, 4)))[2:].isnan().all()


def test_a_uniform_head_has_the_entropy_log_n_and_a_sharp_one_none():
    largest, entropy = head_vector(head_sums(torch.zeros(1, 3, 8, dtype=torch.float64)))[2:].tolist()
    assert (largest, entropy) == pytest.approx((0, math.log(8)))
    sharp = torch.zeros(1, 3, 8, dtype=torch.float64)
    sharp[..., 2] = 1e4
    assert head_vector(head_sums(sharp))[2:].tolist() == pytest.approx([1e4, 0])


ROUTERS = {"softmax": lambda z: z.softmax(-1), "sigmoid": torch.sigmoid, "logits": lambda z: z}


@pytest.mark.parametrize("way", ROUTERS)
def test_experts_have_the_loads_and_probabilities_of_their_router(way, store):
    torch.manual_seed(0)
    model = nn.Sequential(Mixture(ROUTERS[way]), nn.Linear(WIDTH, 2))
    record(model, store)
    rows = pd.read_parquet(store / "units")
    chosen, logits = model[0].chosen, model[0].logits.detach().double()
    scores = torch.sigmoid(logits) / torch.sigmoid(logits).sum(-1, True) if way == "sigmoid" else logits.softmax(-1)
    load = torch.bincount(chosen.flatten(), minlength=4).double() / chosen.numel()
    assert rows["layer"].unique().tolist() == ["0"]
    np.testing.assert_allclose(rows["router_load"], load, rtol=1e-6)
    np.testing.assert_allclose(rows["router_probability"], scores.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(rows["router_entropy"], torch.special.entr(scores).sum(-1).mean(), rtol=1e-5)
    assert rows["attention_entropy"].isna().all()


def test_parts_of_a_batch_give_the_numbers_of_the_whole():
    scores = torch.randn(40, 6, dtype=torch.float64).softmax(-1)
    chosen = scores.topk(2).indices
    whole = expert_vector(expert_sums(scores, chosen))
    parts = [expert_sums(scores[:15], chosen[:15]), expert_sums(scores[15:], chosen[15:])]
    torch.testing.assert_close(expert_vector(merged_experts(parts)), whole)
    assert whole[2:8].sum().item() == pytest.approx(1)


def test_a_choice_of_the_best_classes_is_no_router(store):
    class Best(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(WIDTH, 9)

        def forward(self, x):
            return self.layer(x).flatten(1).topk(5).values

    record(Best(), store)
    assert not (store / "units").exists()


@pytest.mark.parametrize("way", ["causal", "eager"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_is_bitwise_the_same(way, checkpointing, store):
    def train(probed):
        model = model_of(way)
        model.insert(2, Mixture(ROUTERS["softmax"]))
        for block in model[:2]:
            block.checkpointing = checkpointing
        model.append(nn.Dropout(0.3))
        torch.manual_seed(3)
        if probed:
            losses = record(model, store, steps=4, metrics=None, every=2)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            x = torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
            losses = [step(model, optimizer, x) for _ in range(4)]
        return [*losses, *model.state_dict().values(), torch.get_rng_state()]

    bare, probed = train(False), train(True)
    assert all(map(torch.equal, bare, probed))
    assert pd.read_parquet(store / "units")["layer"].nunique() == 3


def test_no_mode_is_left_when_a_forward_breaks_off(store):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(WIDTH, 2)

        def forward(self, x):
            self.layer(x)
            raise RuntimeError("broken")

    model = Broken()
    before = torch._C._len_torch_function_stack()
    with Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a", every={"attention": 1}):
        with pytest.raises(RuntimeError, match="broken"):
            model(torch.randn(2, WIDTH))
        assert torch._C._len_torch_function_stack() == before


def test_without_a_metric_of_calls_there_is_no_hook_and_between_records_no_mode(store):
    model = model_of()
    hooks = [len(part._forward_pre_hooks) for part in model]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", metrics=["gradients", "optimizer"], every=1):
        with_gradients = [len(part._forward_pre_hooks) for part in model]
        always = [len(part._forward_hooks_always_called) for part in (model, *model)]
    assert with_gradients == [count + 1 for count in hooks]  # that notices passes
    assert always == [0] * 4
    modes = []
    model[1].register_forward_hook(lambda *_: modes.append(torch._C._len_torch_function_stack()))
    record(model, store, steps=3, run="b", every={"attention": 2}, metrics=["attention"])
    assert [count - modes[1] for count in modes] == [1, 0, 1]


def test_evaluation_does_not_count_and_micro_batches_are_merged(store):
    model = model_of(blocks=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = torch.randn(2, BATCH, LENGTH, WIDTH)
    logits = []
    with Probe(model, optimizer, store=store, run="a", every={"attention": 1}, metrics=["attention"]):
        with torch.no_grad():
            model(100 * batches[0])
        for x in batches:
            model(x).square().mean().backward()
            logits.append(model[0].attn.logits)
        optimizer.step()
    rows = pd.read_parquet(store / "units")
    largest, entropy = numbers_of_numpy(torch.cat(logits))
    np.testing.assert_allclose(rows["attention_logit_max"], largest, rtol=1e-5)
    np.testing.assert_allclose(rows["attention_entropy"], entropy, rtol=1e-5)


def test_a_compiled_model_has_no_rows_and_no_further_graph(store):
    def graphs(probed):
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        model = model_of()
        forward = torch.compile(model, backend="aot_eager")
        if probed:
            record(model, store, steps=3, forward=forward, every=2, metrics=None)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(3):
                step(forward, optimizer, torch.randn(BATCH, LENGTH, WIDTH))
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    assert graphs(False) == graphs(True)
    assert not (store / "units").exists()


def test_a_model_with_a_compiled_part_says_why_it_has_no_rows(store):
    model = model_of()
    model[0].compile(backend="aot_eager")
    record(model, store)
    gaps = json.loads(pd.read_parquet(store / "runs")["gaps"].item())
    assert any("compiled parts" in gap["why"] for gap in gaps)


def test_a_copy_of_the_model_sees_nothing(store):
    model = model_of()
    with Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=store, run="a", every={"attention": 1}):
        copied = copy.deepcopy(model)
        assert not copied._forward_hooks
        copied(torch.randn(BATCH, LENGTH, WIDTH))
        assert torch._C._len_torch_function_stack() == 0


def test_the_input_of_a_norm_and_the_output_of_a_layer_have_their_root_mean_square(store):
    model = model_of()
    seen = {}
    model[1].norm.register_forward_hook(lambda _, given, out: seen.update(given=given[0].detach(), out=out.detach()))
    record(model, store, every={"transformers": 1, "activations": 1}, metrics=["transformers", "activations"])
    row = pd.read_parquet(store / "layers").query("layer == '1.norm'").iloc[0]
    assert row["input_rms"] == pytest.approx(seen["given"].double().square().mean().sqrt().item(), rel=1e-6)
    assert row["activation_rms"] == pytest.approx(seen["out"].double().square().mean().sqrt().item(), rel=1e-6)
