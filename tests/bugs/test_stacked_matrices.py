"""Stacked experts ``(E, out, in)`` had the singular values of one matrix ``(E, out*in)`` that nothing multiplies by.

Found with Mixtral, Qwen3-MoE and GPT-OSS in transformers 5, whose experts are one parameter; ``nn.Bilinear`` is alike.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

EVERYTHING = dict.fromkeys(["singular_values", "spectrum", "kernel_slices"], 1)
COLUMNS = ["singular_value_mean", "spectral_norm", "stable_rank", "effective_rank", "condition_number"]


def of_each(stack):
    """The five numbers, of each matrix by itself, then the largest or the mean of them."""
    sigma = np.linalg.svd(stack.detach().numpy().astype(np.complex128), compute_uv=False)
    share = sigma / sigma.sum(axis=1, keepdims=True)
    stable = (sigma**2).sum(axis=1) / sigma[:, 0] ** 2
    effective = np.exp(-(share * np.log(share)).sum(axis=1))
    return [sigma.mean(), sigma.max(), stable.mean(), effective.mean(), (sigma[:, 0] / sigma[:, -1]).max()]


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(4, 6, 5))
        with torch.no_grad():
            self.gate_up_proj[2] *= 3

    def forward(self, x):
        return torch.einsum("nd,ehd->neh", x, self.gate_up_proj)


def test_stacked_experts_have_the_largest_norm_and_mean_ranks_of_each(record, tmp_path):
    model = nn.Sequential(Experts())
    truth = of_each(model[0].gate_up_proj)
    found = record(model, [lambda m: m(torch.randn(3, 5)).square().mean()], every=EVERYTHING)
    row = found["0.gate_up_proj"]
    np.testing.assert_allclose(row[COLUMNS].astype(float), truth, rtol=1e-5)
    assert np.isnan(row["kernel_singular_value_mean"])
    assert not (tmp_path / "runs" / "spectra").exists()


def test_a_bilinear_layer_is_a_stack_and_a_convolution_is_none(record):
    model = nn.ModuleDict({"bilinear": nn.Bilinear(4, 5, 3), "conv": nn.Conv1d(4, 5, 3)})
    stack, kernel = of_each(model["bilinear"].weight), of_each(model["conv"].weight.flatten(1)[None])

    def loss(m):
        x = torch.randn(2, 4)
        return m["bilinear"](x, m["conv"](x[:, :, None].expand(2, 4, 3))[..., 0]).square().mean()

    found = record(model, [loss], every=EVERYTHING)
    np.testing.assert_allclose(found["bilinear"][COLUMNS].astype(float), stack, rtol=1e-5)
    np.testing.assert_allclose(found["conv"][COLUMNS].astype(float), kernel, rtol=1e-5)
    assert found["conv"]["kernel_singular_value_mean"] > 0


def test_a_complex_weight_has_complex_singular_values(record):
    model = nn.Linear(6, 4, dtype=torch.complex64)
    truth = of_each(model.weight[None])
    found = record(model, [lambda m: m(torch.randn(3, 6, dtype=torch.complex64)).abs().square().mean()])
    np.testing.assert_allclose(found["Linear"][COLUMNS].astype(float), truth, rtol=1e-5)
    assert found.gaps == []


def test_mixtral_has_its_experts_norms(record):
    transformers = pytest.importorskip("transformers", minversion="5.0")
    config = transformers.MixtralConfig(
        vocab_size=97,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        num_local_experts=4,
        num_experts_per_tok=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.MixtralForCausalLM(config).train()
    name, weight = next((n, p) for n, p in model.named_parameters() if "gate_up_proj" in n)
    truth, ids = of_each(weight), torch.randint(3, 97, (2, 9))
    found = record(model, [lambda m: m(input_ids=ids, labels=ids).loss], every={"singular_values": 1})
    np.testing.assert_allclose(found[name][COLUMNS].astype(float), truth, rtol=1e-5)
