"""``grad_noise`` did not compare between runs with other micro-batches: what compares them was not recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from probes.schema import LAYERS, pa


def test_the_noise_scale_follows_from_the_columns(record, tmp_path):
    model, batches = nn.Linear(6, 4, bias=False), torch.randn(5, 8, 6)
    each = (
        torch.stack([torch.autograd.grad(model(x).square().mean(), model.weight)[0] for x in batches]).double().numpy()
    )
    mean, trace = each.mean(axis=0), each.var(axis=0, ddof=1).sum()
    found = record(model, [lambda m, x=x: m(x).square().mean() / 5 for x in batches], metrics=["grad_noise"])["Linear"]
    assert found["grad_micro_batches"] == 5
    assert found["grad_noise_trace"] == pytest.approx(trace, rel=1e-5)
    assert found["grad_signal"] == pytest.approx(np.square(mean).sum() - trace / 5, rel=1e-5)
    assert found["grad_noise"] == pytest.approx(trace / 24, rel=1e-5)
    part = next((tmp_path / "runs" / LAYERS).rglob("*.parquet"))
    assert pa.types.is_int64(pa.parquet.read_schema(part).field("grad_micro_batches").type)


def test_a_single_micro_batch_has_no_noise_and_no_count(record):
    found = record(nn.Linear(6, 4), [lambda m: m(torch.randn(8, 6)).square().mean()])["Linear"]
    assert found[["grad_micro_batches", "grad_noise_trace", "grad_signal"]].isna().all()
