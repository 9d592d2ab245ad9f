"""One odd layer cost every layer its metric; an odd output was left out without a word.

Odd are: outputs of no or one dimension, nested, sparse and complex outputs, layers on device meta, sparse gradients.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from probes.metrics import METRICS

EVERYTHING = dict.fromkeys(METRICS, 1)
ACTIVATIONS = ["activation_mean", "activation_var", "activation_drift", "dead_fraction", "saturated_fraction"]
WEIGHTS = ["weight_mean", "weight_l2_norm", "spectral_norm", "grad_l2_norm", "update_ratio"]


class Odd(nn.Module):
    """A layer with a parameter whose output is made by a function."""

    def __init__(self, make):
        super().__init__()
        self.weight, self.make = nn.Parameter(torch.randn(4)), make

    def forward(self, x):
        return self.make(x * self.weight)


class Net(nn.Module):
    def __init__(self, make, back=lambda y: y.mean()):
        super().__init__()
        self.first, self.odd, self.last = nn.Linear(4, 4), Odd(make), nn.Linear(4, 2)
        self.back = back

    def forward(self, x):
        y = self.first(x)
        return self.last(y).square().mean() + self.back(self.odd(y))


def nested(x):
    return torch.nested.nested_tensor([x[0], x[1]])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize(
    ("make", "back", "why"),
    [
        (nested, lambda _: 0.0, "the output is a nested tensor, whose rows are of unlike length"),
        (lambda x: x.to_sparse(), lambda y: y.to_dense().mean(), "the output is a sparse tensor (sparse_coo)"),
        (lambda x: x.argmax(-1), lambda _: 0.0, "the output's int64 entries are not floating-point numbers"),
        (lambda x: x.to("meta"), lambda _: 0.0, "the output is on device meta, where tensors have no values"),
    ],
    ids=["nested", "sparse", "integers", "meta"],
)
def test_an_output_without_statistics_is_a_gap_and_the_other_layers_are_recorded(record, make, back, why):
    found = record(Net(make, back), [lambda m: m(torch.randn(3, 4))], every=EVERYTHING)
    assert found.of("activations") == [("odd", why)]
    for name in ("first", "last"):
        assert found[name][[*ACTIVATIONS, *WEIGHTS]].notna().all()


@pytest.mark.parametrize("make", [lambda x: x.mean(), lambda x: x.sum(-1)], ids=["0-d", "1-d"])
def test_outputs_of_no_and_one_dimension_have_statistics(record, make):
    model, seen = Net(make), []
    model.odd.register_forward_hook(lambda _m, _i, out: seen.append(out.detach().double().reshape(-1)))
    found = record(model, [lambda m: m(torch.randn(3, 4))], every=EVERYTHING)
    row = found["odd"]
    assert row["activation_mean"] == pytest.approx(seen[0].mean().item(), rel=1e-5)
    assert row["activation_var"] == pytest.approx(seen[0].var(correction=0).item(), rel=1e-5, abs=1e-12)
    assert row["dead_fraction"] == pytest.approx((seen[0] <= 0).double().mean().item())
    assert found.layers[ACTIVATIONS].notna().all().all()
    assert found.gaps == []


def test_of_complex_outputs_the_real_and_imaginary_parts_are_counted(record):
    model, seen = Net(torch.fft.fft, lambda y: y.abs().square().mean()), []
    model.odd.register_forward_hook(lambda _m, _i, out: seen.append(torch.view_as_real(out.detach()).double()))
    found = record(model, [lambda m: m(torch.randn(3, 4))], every=EVERYTHING)
    whole, row = seen[0].numpy(), found["odd"]
    assert row["activation_mean"] == pytest.approx(whole.mean(), rel=1e-5)
    assert row["activation_var"] == pytest.approx(whole.var(), rel=1e-5)
    assert row["saturated_fraction"] == np.mean(np.abs(whole) > 3)
    assert row["dead_fraction"] == np.mean(whole.max(axis=(0, 2)) <= 0)
    assert found.gaps == []


def test_a_layer_on_device_meta_is_a_gap_of_each_of_its_metrics_alone(record):
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.here, self.there = nn.Linear(4, 4), nn.Linear(4, 4, device="meta")

        def forward(self, x):
            self.there(x.to("meta"))
            return self.here(x).square().mean()

    found = record(Partly(), [lambda m: m(torch.randn(3, 4))], every=EVERYTHING)
    assert found["here"][[*ACTIVATIONS, *WEIGHTS]].notna().all()
    assert found["there"][[*ACTIVATIONS, *WEIGHTS]].isna().all()
    lost = {gap["what"] for gap in found.gaps if gap.get("layer") == "there"}
    assert {"weight_moments", "bias_moments", "singular_values", "weight_histogram", "activations"} <= lost
    assert {gap.get("layer") or gap["parameter"].partition(".")[0] for gap in found.gaps} == {"there"}


def test_a_sparse_gradient_is_read_among_dense_ones(record):
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    found = record(model, [lambda m: m(torch.tensor([1, 1, 7])).square().sum()], every=EVERYTHING)
    assert found["0"]["grad_sparsity"] == pytest.approx(0.8)
    assert found["1"][WEIGHTS].notna().all()
    assert found.gaps == []


def test_a_complex_layer_is_recorded_among_real_ones(record):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.real, self.imaginary = nn.Linear(4, 4), nn.Linear(4, 4, dtype=torch.complex64)
            self.kernel = nn.Conv2d(1, 2, 3, dtype=torch.complex64)

        def forward(self, x):
            y = self.imaginary(self.real(x).to(torch.complex64))
            return self.kernel(y[None, None]).abs().square().mean()

    model = Mixed()
    parts = torch.view_as_real(model.imaginary.weight.detach()).double()
    slices = torch.linalg.svdvals(model.kernel.weight.detach())[..., 0].mean().item()
    found = record(model, [lambda m: m(torch.randn(4, 4))], every=EVERYTHING)
    assert found["real"][WEIGHTS].notna().all()
    assert found["imaginary"]["weight_l2_norm"] == pytest.approx(parts.norm().item(), rel=1e-6)
    assert found["kernel"]["kernel_singular_value_mean"] == pytest.approx(slices, rel=1e-5)
    assert found.of("operator_norm") == [("kernel", "ValueError: the weight is complex: expected a real one.")]


def test_activations_beyond_the_squares_of_float32_have_a_variance(record):
    model, seen = Net(lambda x: x * 1e18, lambda y: (y / 1e18).mean()), []
    model.odd.register_forward_hook(lambda _m, _i, out: seen.append(out.detach().double()))
    found = record(model, [lambda m: m(torch.randn(600, 4))], every=EVERYTHING)
    assert found["odd"]["activation_var"] == pytest.approx(seen[0].var(correction=0).item(), rel=1e-5)
    assert found["odd"]["activation_nonfinite"] == 0
