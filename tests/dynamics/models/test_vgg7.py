"""VGG-7."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.models import build


@pytest.mark.parametrize(("size", "classes"), [(32, 10), (40, 3), (64, 5)])
def test_it_takes_images_of_any_size_from_32(size: int, classes: int) -> None:
    model = build("vgg7", "bn", in_channels=3, image_size=size, num_classes=classes)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, classes)


def test_channels_are_the_papers() -> None:
    model = build("vgg7", "none", in_channels=3, image_size=32)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [32, 32, 64, 64, 128, 256]
    assert [conv.padding for conv in convs] == [(1, 1)] * 5 + [(0, 0)]
    assert model.classifier.in_features == 256


def test_the_released_variant_can_be_asked_for() -> None:
    model = build("vgg7", "bn", in_channels=3, image_size=32, activation=nn.ReLU, dropout=0.3)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.Dropout) == 3
    assert kinds.count(nn.ReLU) == 6


def test_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="vgg7 pools four times: expected images of at least 32x32, got 28x28"):
        build("vgg7", "bn", in_channels=3, image_size=28)
