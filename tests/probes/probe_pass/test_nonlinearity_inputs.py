"""What each nonlinearity sees of the probe batch, and the layer that it comes from."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.models import build
from probes import Probe


def record(model, batch, store, *, steps=1, train=None):
    """Train for some steps, the batch being passed at each; return table ``channels``."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every={"channels": 1}, probe_batch=batch, strict=True):
        for _ in range(steps):
            optimizer.zero_grad()
            first = model(batch if train is None else train)
            first.square().mean().backward()
            optimizer.step()
    return pd.read_parquet(store / "channels")


class Forms(nn.Module):
    """One linear layer, and a nonlinearity in some form behind it."""

    def __init__(self, behind):
        super().__init__()
        self.layer, self.last, self.behind = nn.Linear(5, 4), nn.Linear(4, 2), behind

    def forward(self, x):
        return self.last(self.behind(self.layer(x)))


class HandWrittenGelu(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))


@pytest.mark.parametrize(
    ("behind", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.LeakyReLU(0.1), "leaky_relu"),
        (nn.PReLU(), "prelu"),
        (F.gelu, "gelu"),
        (F.silu, "silu"),
        (torch.relu, "relu"),
        (Tensor.relu_, "relu"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: F.relu(x.unflatten(1, (2, 2)).mT.flatten(1)), "relu"),
        (nn.Sequential(nn.Dropout(0.5), nn.ReLU6()), "hardtanh"),
        (HandWrittenGelu(), "tanh"),
    ],
)
def test_a_nonlinearity_of_any_form_is_seen_with_the_layer_before_it(behind, name, store):
    rows = record(Forms(behind), torch.randn(6, 5), store)
    assert set(zip(rows["layer"], rows["nonlinearity"], strict=True)) == {("layer", name)}
    assert rows["channel"].tolist() == [0, 1, 2, 3]


def test_a_hand_written_module_sees_its_input_and_not_the_argument_of_its_tanh(store):
    model, x = Forms(HandWrittenGelu()), torch.randn(6, 5)
    expected = model.layer(x).double().mean(0).tolist()
    np.testing.assert_allclose(record(model, x, store)["mean"], expected, rtol=1e-5)


def test_outputs_of_the_network_feed_no_nonlinearity(store):
    assert set(record(build("cnn3", "none", image_size=8), torch.randn(4, 1, 8, 8), store)["layer"]) == {
        "features.block1.conv",
        "features.block2.conv",
        "features.block3.conv",
    }


def test_in_a_transformer_the_layer_before_the_relu_is_seen_and_no_layer_norm(store):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.head = (
                nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
                nn.Linear(8, 2),
            )

        def forward(self, x):
            return self.head(self.block(x).mean(1))

    rows = record(Encoder(), torch.randn(4, 3, 8), store)
    assert set(rows["layer"]) == {"block.linear1"}
    assert len(rows) == 16


class FusedNorm(nn.BatchNorm2d):
    """A batch norm with its activation inside, as timm's ``BatchNormAct2d``."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(super().forward(x))


class Residual(nn.Module):
    """A fused norm, and a sum of two branches before a nonlinearity."""

    def __init__(self):
        super().__init__()
        self.first, self.fused = nn.Conv2d(1, 4, 3), FusedNorm(4)
        self.second, self.norm, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.fused(self.first(x))
        x = F.relu(self.norm(self.second(x)) + x)
        return self.head(x.amax((2, 3)))


def test_a_fused_norm_and_a_sum_are_seen_as_the_nonlinearity_sees_them(store):
    rows = record(Residual(), torch.randn(6, 1, 7, 7), store)
    found = rows[["layer", "nonlinearity"]].drop_duplicates().to_numpy().tolist()
    assert found == [["fused", "silu"], ["norm", "relu"]]


def test_numbers_are_those_of_an_independent_float64_computation(store):
    torch.manual_seed(3)
    model, x, training = Residual(), torch.randn(5, 1, 7, 7), torch.randn(8, 1, 7, 7)
    model(training)  # running statistics that are neither 0 nor those of the batch
    with torch.no_grad():
        model.norm.bias.copy_(torch.tensor([-9.0, 0.5, 0.0, 0.2]))
    model.second.weight.data *= 0.3
    expected = by_hand(model, x)
    rows = record_without_moving(model, x, training, store)
    for layer, columns in expected.items():
        found = rows[rows["layer"] == layer].sort_values("channel")
        for column, values in columns.items():
            np.testing.assert_allclose(found[column], values, rtol=2e-5, atol=1e-6, err_msg=f"{layer} {column}")
    assert rows[(rows["layer"] == "norm") & (rows["channel"] == 0)]["maximum"].item() < 0


def record_without_moving(model, x, training, store):
    """Record the first step, before the weights move; batch norms are frozen, so running statistics stay."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    return record(model, x, store, train=training)


def by_hand(model, x):
    """Return the columns of each layer before a nonlinearity, in float64 and in plain formulas."""

    def norm(h, bn):
        columns = {"input_mean": h.mean((0, 2, 3)), "input_deviation": h.var((0, 2, 3), correction=0).sqrt()}
        columns |= {"running_mean": bn.running_mean, "running_deviation": bn.running_var.sqrt(), "shift": bn.bias}
        per = lambda v: v.double()[:, None, None]  # noqa: E731
        z = (h - per(bn.running_mean)) / (per(bn.running_var) + bn.eps).sqrt() * per(bn.weight) + per(bn.bias)
        return z, columns

    def seen(z):
        return {
            "mean": z.mean((0, 2, 3)),
            "deviation": (z - z.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3)).sqrt(),
            "maximum": z.amax((0, 2, 3)),
            "positive_fraction": (z > 0).double().mean((0, 2, 3)),
        }

    with torch.no_grad():
        conv = lambda layer, h, **how: F.conv2d(h, layer.weight.double(), layer.bias.double(), **how)  # noqa: E731
        z, of_fused = norm(conv(model.first, x.double()), model.fused)
        h = z * torch.sigmoid(z)
        second, of_norm = norm(conv(model.second, h, padding=1), model.norm)
        found = {"fused": of_fused | seen(z), "norm": of_norm | seen(second + h)}
        return {layer: {name: v.tolist() for name, v in columns.items()} for layer, columns in found.items()}


def test_a_layer_without_bias_or_norm_has_null_there(store):
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2))
    rows = record(model, torch.randn(5, 3), store)
    assert rows[["shift", "input_mean", "input_deviation", "running_mean", "running_deviation"]].isna().all().all()
    assert rows[["mean", "deviation", "maximum", "positive_fraction"]].notna().all().all()


def test_calls_of_a_shared_layer_are_taken_together(store):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x):
            return self.last(F.relu(self.layer(F.relu(self.layer(x)))))

    model, x = Twice(), torch.randn(5, 3)
    with torch.no_grad():
        first = model.layer(x)
        both = torch.cat([first, model.layer(first.relu())]).double()
    rows = record(model, x, store)
    np.testing.assert_allclose(rows["mean"], both.mean(0), rtol=1e-5)
    np.testing.assert_allclose(rows["deviation"], both.std(0, correction=0), rtol=1e-5)
    np.testing.assert_allclose(rows["maximum"], both.amax(0), rtol=1e-6)
