"""Borders, and bytes to floats and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dynamics.data.images import DataSet, Images
from dynamics.gan.images import padded, to_bytes, to_floats


def data(size: int) -> DataSet:
    images = Images(torch.full((4, 1, size, size), 200, dtype=torch.uint8), torch.arange(4))
    return DataSet("squares", images, images, 4, (0.5,), (0.5,))


def test_digits_get_a_black_border_of_two_pixels() -> None:
    pixels = padded(data(28)).train.pixels
    assert pixels.shape == (4, 1, 32, 32)
    assert (pixels[:, :, 2:30, 2:30] == 200).all()
    assert pixels.sum() == 4 * 28 * 28 * 200


def test_images_of_32_pixels_stay_as_they_are() -> None:
    original = data(32)
    assert torch.equal(padded(original).test.pixels, original.test.pixels)


@pytest.mark.parametrize("size", [33, 64, 27])
def test_images_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"squares: images of {size}x{size}; expected 32x32"):
        padded(data(size))


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    floats = to_floats(every)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_bytes(floats), every)


def test_what_is_no_pixel_is_clipped() -> None:
    wild = torch.tensor([-3.0, 3.0, float("nan"), float("inf"), -float("inf")])
    assert to_bytes(wild).tolist() == [0, 255, 0, 255, 0]


def test_the_border_leaves_the_data_set_it_came_from_alone() -> None:
    original = data(28)
    copy = replace(original, train=replace(original.train, pixels=original.train.pixels.clone()))
    padded(original)
    assert torch.equal(original.train.pixels, copy.train.pixels)
