"""A reducer that leaves something to be finished at the step, a user's own too: it cannot harm training or others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import Probe
from probes.metrics import METRICS
from probes.metrics.metric import Metric
from probes.metrics.reducer import Reducer
from probes.schema import Column

COLUMN = Column("own", "1", "mean of the output", "output")


def own(reduce, finish=None, compute=None):
    """Return a metric of a user's own that averages what its reducer gives."""
    reducer = Reducer(reduce, lambda vectors: vectors.mean(0), finish=finish)
    compute = compute or (lambda vectors: torch.stack([vector[0] for vector in vectors])[None])
    return Metric("own", "own", "own", compute, (COLUMN,), reducer=reducer)


def number(tensor, _channel_dim):
    return tensor.mean().item()


def as_vectors(found):
    return [torch.tensor([value], dtype=torch.float64) for value in found]


def fails(_found):
    raise ValueError("finish fails")


def two_players(folder, metrics):
    """Train with two optimizers, one of which steps more often: records are finished within steps of the other."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    optimizers = [torch.optim.SGD(layer.parameters(), 0.1) for layer in model]
    means = []
    model[0].register_forward_hook(lambda _module, _given, output: means.append(output.mean().item()))
    with Probe(model, optimizers, store=folder, run="r", every=1, metrics=metrics):
        for step in range(6):
            model(torch.randn(5, 4)).square().sum().backward()
            optimizers[0].step()
            if step % 3 == 2:
                optimizers[1].step()
    return means


def test_what_is_finished_at_the_step_is_recorded(tmp_path):
    means = two_players(tmp_path, [own(number, as_vectors)])
    rows = pd.read_parquet(tmp_path / "layers").query("layer == '0'").sort_values("step")
    np.testing.assert_allclose(rows["own"], means, rtol=1e-6)


def test_a_finish_that_fails_is_a_gap_and_spoils_no_other_metric(tmp_path):
    with pytest.warns(RuntimeWarning, match="finish fails"):
        two_players(tmp_path, [own(number, fails), METRICS["activation_moments"]])
    rows = pd.read_parquet(tmp_path / "layers")
    assert len(rows) == 8  # six steps of the first layer, two of the other
    assert rows["activation_mean"].notna().all()
    (run,) = pd.read_parquet(tmp_path / "runs").to_dict("records")
    assert "finish fails" in str(run["gaps"])


def test_without_finish_anything_is_handed_to_the_metric(tmp_path):
    metric = own(lambda *given: np.array([number(*given)]), compute=lambda values: torch.tensor(np.stack(values).T))
    means = two_players(tmp_path, [metric])
    rows = pd.read_parquet(tmp_path / "layers").query("layer == '0'").sort_values("step")
    np.testing.assert_allclose(rows["own"], means, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_a_gradient_is_handed_over_without_its_graph(tmp_path):
    seen = []

    def look(gradients):
        seen.extend(gradient.requires_grad for gradient in gradients)
        return torch.stack([gradient.norm() for gradient in gradients])[None]

    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    metric = Metric("own", "own", "gradient", look, (COLUMN,))
    with Probe(layer, optimizer, store=tmp_path, run="r", every=1, metrics=[metric]):
        layer(torch.randn(4, 3)).square().sum().backward(create_graph=True)
        optimizer.step()
    optimizer.zero_grad()  # the cycle that torch warns of
    assert seen == [False]
