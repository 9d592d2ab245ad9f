"""The 3-layer CNN."""

from __future__ import annotations

import pytest
import torch

from dynamics.models import build


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 32, 7), (1, 9, 2)])
def test_it_takes_images_of_any_size(channels: int, size: int, classes: int) -> None:
    model = build("cnn3", "bn", in_channels=channels, image_size=size, num_classes=classes)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)
    assert model.example_input().shape == (1, channels, size, size)


def test_layers_have_the_papers_shapes() -> None:
    model = build("cnn3", "none")
    shapes = [tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")]
    assert shapes == [(16, 1, 5, 5), (32, 16, 3, 3), (32, 32, 4, 4), (10, 32 * 16 * 16)]


def test_a_block_is_conv_norm_activation() -> None:
    block = build("cnn3", "msn").features.block2
    assert [name for name, _ in block.named_children()] == ["conv", "norm", "activation"]
    assert [name for name, _ in build("cnn3", "sn").features.block2.named_children()] == ["conv", "activation"]
