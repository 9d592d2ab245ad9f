"""A probe on an ordinary loop: the store holds what NumPy computes from the same tensors."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from probes import Probe


def test_two_lines_around_an_ordinary_loop_fill_the_store(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    truth = []
    with Probe(model, optimizer, store=tmp_path / "runs", run="a", every=1, strict=True) as probe:
        for _ in range(3):
            loss = model(torch.randn(4, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            weight, gradient = model[0].weight.detach().double().numpy(), model[0].weight.grad.double().numpy()
            truth.append((weight.mean(), weight.var(), gradient.var(), np.linalg.svd(weight, compute_uv=False).mean()))
            optimizer.step()
            probe.log(loss=loss)
    table = pd.read_parquet(tmp_path / "runs" / "layers").query("layer == '0'")
    recorded = table[["weight_mean", "weight_var", "grad_var", "singular_value_mean"]]
    assert table["step"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(recorded.to_numpy(), truth, rtol=2e-6)
    assert len(pd.read_parquet(tmp_path / "runs" / "steps")) == 3
