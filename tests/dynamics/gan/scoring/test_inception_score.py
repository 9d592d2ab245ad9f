"""The inception score against closed forms and a naive loop."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from dynamics.gan.scoring.inception_score import ClassStatistics, inception_score


def logits(n: int = 100, classes: int = 10, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def score(x: torch.Tensor) -> float:
    return inception_score(ClassStatistics.of(x))


def test_sure_and_balanced_images_score_the_number_of_classes() -> None:
    assert score(torch.eye(7).repeat(3, 1) * 1e4) == pytest.approx(7.0, rel=1e-14)


def test_images_that_look_alike_score_one() -> None:
    assert score(logits(1).repeat(50, 1)) == pytest.approx(1.0, abs=1e-14)


def test_two_classes_at_known_confidence_have_a_closed_form() -> None:
    p = 0.9
    x = torch.tensor([[p, 1 - p], [1 - p, p]], dtype=torch.float64).log()
    expected = 2 * p**p * (1 - p) ** (1 - p)
    assert score(x) == pytest.approx(expected, rel=1e-14)


def test_the_score_equals_a_loop_over_images() -> None:
    p = logits().softmax(dim=1)
    marginal = p.mean(dim=0)
    divergences = [sum(row[y] * math.log(row[y] / marginal[y]) for y in range(10)) for row in p]
    assert score(logits()) == pytest.approx(math.exp(sum(divergences) / 100), rel=1e-12)


def test_batches_add_to_the_score_of_the_whole() -> None:
    x = logits(90)
    merged = ClassStatistics.of(x[:13]) + ClassStatistics.of(x[13:50]) + ClassStatistics.of(x[50:])
    assert inception_score(merged) == pytest.approx(score(x), rel=1e-13)


def test_an_impossible_class_adds_nothing() -> None:
    x = logits()
    padded = torch.cat([x, torch.full((100, 1), -math.inf)], dim=1)
    assert score(padded) == pytest.approx(score(x), rel=1e-14)


def test_nan_logits_give_nan() -> None:
    x = logits()
    x[0, 0] = float("nan")
    assert math.isnan(score(x))


def test_what_is_not_a_matrix_of_logits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(0, 10\): expected \(n, classes\) with n >= 1"):
        ClassStatistics.of(torch.zeros(0, 10))


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
@pytest.mark.filterwarnings("ignore")  # torchmetrics warns of its own deprecations
def test_the_score_agrees_with_torchmetrics_to_1e_6() -> None:
    from torchmetrics.image.inception import InceptionScore

    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(logits(500))
    assert score(logits(500)) == pytest.approx(theirs.compute()[0].item(), rel=1e-6)
