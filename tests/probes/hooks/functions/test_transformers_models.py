"""Heads and experts of models of transformers: eager and fused attention alike, loads as its router logits say."""

import numpy as np
import pandas as pd
import pytest
import torch

from probes import Probe

pytest.importorskip("transformers")
pytestmark = pytest.mark.frameworks
TOKENS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(0))
EVERY = {"transformers": 1}


def record(model, store, run):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run=run, every=EVERY, metrics=["transformers"], strict=True):
        output = model(TOKENS, labels=TOKENS)
        output.loss.backward()
        optimizer.step()
    return output


def test_gpt2_has_the_same_heads_eager_and_fused(store):
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {"n_layer": 2, "n_embd": 16, "n_head": 4, "vocab_size": 50, "n_positions": 16}
    settings |= {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    for way in ("eager", "sdpa"):
        torch.manual_seed(0)
        record(GPT2LMHeadModel(GPT2Config(**settings, attn_implementation=way)), store, way)
    eager, fused = (pd.read_parquet(store / "units", filters=[("run", "==", way)]) for way in ("eager", "sdpa"))
    assert eager["layer"].unique().tolist() == ["transformer.h.0.attn", "transformer.h.1.attn"]
    columns = ["unit", "attention_logit_max", "attention_entropy"]
    assert len(eager) == 8
    np.testing.assert_allclose(eager[columns], fused[columns], rtol=1e-4)


def test_mixtral_has_the_loads_of_its_router_logits(store):
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    settings = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"num_key_value_heads": 2, "num_local_experts": 4, "vocab_size": 50, "output_router_logits": True}
    output = record(MixtralForCausalLM(MixtralConfig(**settings, bos_token_id=0, eos_token_id=0)), store, "moe")
    rows = pd.read_parquet(store / "units")
    routed = rows[rows["router_load"].notna()]
    assert routed["layer"].unique().tolist() == [f"model.layers.{block}.mlp.gate" for block in (0, 1)]
    for (_, mine), logits in zip(routed.groupby("layer", observed=True), output.router_logits, strict=True):
        scores = logits.detach().double().softmax(-1)
        chosen = scores.topk(2).indices
        load = torch.bincount(chosen.flatten(), minlength=4).double() / chosen.numel()
        np.testing.assert_allclose(mine["router_load"], load, rtol=1e-6)
        np.testing.assert_allclose(mine["router_probability"], scores.mean(0), rtol=1e-4)
    assert rows["attention_entropy"].notna().sum() == 8
