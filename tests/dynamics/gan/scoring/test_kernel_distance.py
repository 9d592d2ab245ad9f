"""The unbiased kernel distance against closed forms and a naive double loop."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from dynamics.gan.scoring import kernel_distance as module
from dynamics.gan.scoring.kernel_distance import kernel_distance


def features(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(x: torch.Tensor, y: torch.Tensor) -> float:
    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (torch.dot(a, b).item() / len(a) + 1) ** 3

    def within(z: torch.Tensor) -> float:
        return sum(k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))

    return within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def test_the_distance_equals_a_double_loop() -> None:
    x, y = features(13), features(9, seed=1) + 0.5
    assert kernel_distance(x, y) == pytest.approx(naive(x, y), rel=1e-12)


def test_two_points_repeated_have_a_closed_form() -> None:
    """One dimension, x = 1 and y = 0 each twice: k(1,1) + k(0,0) - 2 k(1,0) = 8 + 1 - 2."""
    assert kernel_distance(torch.ones(2, 1), torch.zeros(2, 1)) == pytest.approx(7.0, rel=1e-15)


def test_blocks_do_not_change_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(50), features(40, seed=1)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_one_distribution_is_at_zero_on_average_even_in_small_sets() -> None:
    values = torch.tensor([kernel_distance(features(10, seed=2 * s), features(10, seed=2 * s + 1)) for s in range(400)])
    deviation_of_the_mean = values.std() / math.sqrt(len(values))
    assert values.mean().abs() < 3 * deviation_of_the_mean
    assert (values < 0).any(), "an unbiased estimate of zero must go below it at times"


def test_nan_features_give_nan() -> None:
    x = features(5)
    x[0, 0] = float("nan")
    assert math.isnan(kernel_distance(x, features(5, seed=1)))


@pytest.mark.parametrize(("a", "b"), [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5,))])
def test_sets_that_cannot_be_compared_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n, d\) and \(m, d\), n and m at least 2"):
        kernel_distance(torch.zeros(a), torch.zeros(b))


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
@pytest.mark.filterwarnings("ignore")  # torchmetrics warns of its own deprecations
def test_the_distance_agrees_with_torchmetrics_to_1e_6() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = features(500), features(400, seed=1)[:, :6] + 0.3
    theirs = poly_mmd(x[:400], y)
    assert kernel_distance(x[:400], y) == pytest.approx(theirs.item(), rel=1e-6)
