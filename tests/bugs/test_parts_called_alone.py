"""A model whose own forward is never called: autoencoders, actors and critics, modules of a framework."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import Probe


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoders = nn.Linear(4, 2), nn.ModuleList([nn.Linear(2, 4)])


@pytest.mark.parametrize("metrics", [None, ["weights"]])
@pytest.mark.parametrize("early", [True, False])
def test_what_is_logged_lands_in_the_row_of_its_step(metrics, early, store, table):
    model = Autoencoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with Probe(model, optimizer, store=store, run="a", every=1, metrics=metrics, strict=True) as probe:
        for _ in range(3):
            x = torch.randn(5, 4)
            loss = (model.decoders[0](model.encoder(x)) - x).square().mean()
            losses.append(loss.item())
            if early:
                probe.log(loss=loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not early:
                probe.log(loss=loss)
    steps = table("steps").sort_values("step")
    assert steps["step"].tolist() == [0, 1, 2]
    assert steps["loss"].tolist() == pytest.approx(losses)
