from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dynamics.classifier.evaluation import evaluate


class Table(nn.Module):
    """Looks its logits up: image i holds the number i."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[images.flatten(1)[:, 0].long()]


def batches(labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    images = torch.arange(len(labels)).float().view(-1, 1, 1, 1)
    return list(zip(images.split(size), labels.split(size), strict=True))


def test_loss_and_accuracy_are_means_over_images_however_they_are_batched(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(10, 3, generator=generator)
    labels = torch.randint(0, 3, (10,), generator=generator)
    log_probabilities = logits.double() - logits.double().exp().sum(1, keepdim=True).log()
    expected_loss = -sum(float(log_probabilities[i, labels[i]]) for i in range(10)) / 10
    expected_accuracy = sum(int(logits[i].argmax()) == int(labels[i]) for i in range(10)) / 10
    for size in (1, 3, 10):
        score = evaluate(Table(logits), batches(labels, size))
        assert score.loss == pytest.approx(expected_loss, rel=1e-6)
        assert score.accuracy == expected_accuracy


def test_nan_logits_are_wrong_answers_and_a_nan_loss() -> None:
    logits = torch.tensor([[math.nan, 0.0], [1.0, 0.0]])
    score = evaluate(Table(logits), batches(torch.tensor([0, 0]), 2))
    assert math.isnan(score.loss)
    assert score.accuracy == 0.5


def test_the_model_is_tested_in_evaluation_mode_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.Dropout(0.5))
    model[1].eval()  # frozen by its owner
    seen = []
    model[2].register_forward_hook(lambda module, *_: seen.append(module.training))
    evaluate(model, batches(torch.tensor([0, 1]), 2))
    assert seen == [False]
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_nothing_to_evaluate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images to evaluate on: expected at least one batch"):
        evaluate(nn.Identity(), [])
