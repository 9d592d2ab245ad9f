"""Answers compared image by image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.deploy.predictions import Predictions, predict

NAN = float("nan")


def test_images_whose_class_differs_are_counted() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    before = Predictions(torch.tensor([[2.0, 1], [0, 3], [1, 0], [4, 5]]), labels)
    after = Predictions(torch.tensor([[2.0, 1], [0, 1], [0, 1], [NAN, 5]]), labels)
    assert (before.right, before.accuracy, after.right) == (2, 0.5, 3)
    assert after.changed(before) == 2  # one is right now, one has no class
    assert after.classes.tolist() == [0, 1, 1, -1]
    assert before.changed(before) == 0
    assert after.changed(after) == 0  # a NaN is no change


def test_the_logit_error_is_the_largest() -> None:
    labels = torch.tensor([0, 0])
    one, other = (Predictions(torch.tensor([[0.0, 1], [2, x]]), labels) for x in (3.0, 2.5))
    assert other.logit_error(one) == 0.5


def test_batches_are_joined_in_order_and_none_is_refused() -> None:
    x, labels = torch.randn(5, 3), torch.arange(5)
    said = predict(nn.Identity(), [(x[:2], labels[:2]), (x[2:], labels[2:])])
    assert torch.equal(said.logits, x)
    assert torch.equal(said.labels, labels)
    with pytest.raises(ValueError, match="no images to predict"):
        predict(nn.Identity(), [])
