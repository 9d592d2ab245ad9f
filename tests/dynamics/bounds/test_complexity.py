"""Spectral complexity and the bound it gives."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from dynamics.bounds.complexity import (
    layer_matrices,
    margin_bound,
    margin_bound_of,
    norm_product,
    spectral_complexity,
    spectral_norms,
)
from dynamics.models import build


def matrices(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((4, 5), (3, 4), (2, 3))]


def test_norms_of_diagonal_matrices_are_their_largest_entries() -> None:
    weights = [torch.diag(torch.tensor([1.0, -3.0])), torch.diag(torch.tensor([0.5, 0.25]))]
    assert spectral_norms(weights).tolist() == [3.0, 0.5]
    assert float(norm_product(spectral_norms(weights))) == 1.5
    assert float(norm_product(torch.ones(0))) == 1


def test_complexity_of_one_identity_is_its_number_of_units() -> None:
    # sigma = 1 and the rows' lengths add to n: R = 1 * (n^(2/3))^(3/2) = n.
    assert float(spectral_complexity([torch.eye(7)])) == pytest.approx(7)


def test_complexity_is_equation_4_layer_by_layer(seed: int) -> None:
    weights, references = matrices(seed), matrices(seed + 1)
    product, total = 1.0, 0.0
    for W, M in zip(weights, references, strict=True):
        sigma = float(torch.linalg.svdvals(W.double())[0])
        distance = sum(math.sqrt(sum(float(x) ** 2 for x in row)) for row in W.double() - M.double())
        product *= sigma
        total += (distance / sigma) ** (2 / 3)
    assert float(spectral_complexity(weights, references)) == pytest.approx(product * total**1.5)


def test_complexity_grows_with_the_product_of_scales(seed: int) -> None:
    weights = matrices(seed)
    doubled = [2 * W for W in weights]
    assert float(spectral_complexity(doubled)) == pytest.approx(8 * float(spectral_complexity(weights)))


def test_complexity_at_the_reference_is_zero(seed: int) -> None:
    weights = matrices(seed)
    assert float(spectral_complexity(weights, weights)) == 0


def test_complexity_of_a_zero_weight_or_of_no_weights_is_zero(seed: int) -> None:
    assert float(spectral_complexity([*matrices(seed), torch.zeros(2, 2)])) == 0
    assert float(spectral_complexity([])) == 0


def test_a_nan_or_an_infinity_in_a_weight_shows(seed: int) -> None:
    for value in (torch.nan, torch.inf):
        weights = matrices(seed)
        weights[1][0, 0] = value
        assert spectral_complexity(weights).isnan()


def test_references_of_another_shape_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"expected the shapes of the weights, \[\(4, 5\), .* got \[\(4, 5\)\]"):
        spectral_complexity(matrices(seed), matrices(seed)[:1])


def test_bound_is_the_sum_of_its_three_terms() -> None:
    found = margin_bound(10.0, margin=2.0, input_norm=3.0, samples=100, width=8, ramp_loss=0.25, delta=0.1)
    assert found == pytest.approx(0.25 + 3 * 10 / (2 * 100) * math.log(8) + math.sqrt(math.log(10) / 100))
    assert math.isnan(margin_bound(math.nan, margin=1, input_norm=1, samples=1, width=2, ramp_loss=0))


@pytest.mark.parametrize("wrong", [{"margin": 0.0}, {"samples": 0}, {"width": 1}, {"delta": 0.0}, {"delta": 1.0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    settings = {"margin": 1.0, "input_norm": 1.0, "samples": 10, "width": 4, "ramp_loss": 0.0} | wrong
    with pytest.raises(ValueError, match="margin_bound: expected margin > 0, samples >= 1, width >= 2"):
        margin_bound(1.0, **settings)  # type: ignore[arg-type]


def test_a_networks_bound_is_the_smallest_over_its_margins(seed: int) -> None:
    weights, references = matrices(seed), matrices(seed + 1)
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(40, 3, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    R = float(spectral_complexity(weights, references))
    found = margin_bound_of(logits, labels, complexity=R, width=5, input_norm=0.5)
    values = []
    for i in range(40):
        others = [float(logits[i, c]) for c in range(3) if c != labels[i]]
        values.append(float(logits[i, labels[i]]) - max(others))
    bounds = [
        margin_bound(R, margin=m, input_norm=0.5, samples=40, width=5, ramp_loss=sum(v <= m for v in values) / 40)
        for m in values
        if m > 0
    ]
    assert found == pytest.approx(min(bounds), rel=1e-5)


def test_a_network_that_gets_nothing_right_has_no_bound() -> None:
    found = margin_bound_of(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), complexity=0.0, width=5, input_norm=1)
    assert found == math.inf


def test_a_diverged_networks_bound_is_nan() -> None:
    weights = [torch.full((2, 2), torch.nan)]
    logits, R = torch.tensor([[1.0, 0.0]]), float(spectral_complexity(weights, weights))
    assert math.isnan(margin_bound_of(logits, torch.tensor([0]), complexity=R, width=2, input_norm=1))


def test_matrices_are_the_evaluation_weights_and_are_read_without_a_trace() -> None:
    model = build("cnn3", "sn")
    before = copy.deepcopy(model.state_dict())
    found = layer_matrices(model)
    assert {name: tuple(W.shape) for name, W in found.items()} == {
        "features.block1.conv": (16, 25),
        "features.block2.conv": (32, 144),
        "features.block3.conv": (32, 512),
        "classifier": (10, 8192),
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(found["features.block3.conv"], model.eval().features.block3.conv.weight.flatten(1))
