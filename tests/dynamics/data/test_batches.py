from __future__ import annotations

from itertools import islice

import pytest
import torch

from dynamics.data.batches import TrainingBatches, in_order, standardize
from dynamics.data.images import Images

MEAN, STD = (0.5,), (0.25,)


@pytest.fixture
def images(seed: int) -> Images:
    pixels = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Images(pixels, torch.arange(50))  # a label of its own for each image tells which it is


def batches(images: Images, *, augmentation: str = "none", seed: int = 0, batch_size: int = 16) -> TrainingBatches:
    return TrainingBatches(images, mean=MEAN, std=STD, batch_size=batch_size, augmentation=augmentation, seed=seed)


def test_standardized_pixels_have_the_stated_mean_and_deviation() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    made = standardize(pixels, (0.1, 0.2, 0.5), (0.5, 0.1, 0.25)).flatten()
    torch.testing.assert_close(made, torch.tensor([(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.1, (1 - 0.5) / 0.25]))


def test_an_epoch_sees_no_image_twice_and_leaves_out_only_what_fills_no_batch(images: Images) -> None:
    seen = torch.cat([labels for _, labels in batches(images).epoch(0)])
    assert len(seen) == 48 == len(set(seen.tolist()))
    assert len(batches(images)) == 3


def test_batches_hold_the_images_of_their_labels(images: Images) -> None:
    for pixels, labels in batches(images).epoch(3):
        assert torch.equal(pixels, standardize(images.pixels[labels], MEAN, STD))


def test_one_seed_gives_one_order_and_each_epoch_another(images: Images) -> None:
    def order(epoch: int, seed: int = 0) -> list[int]:
        return torch.cat([labels for _, labels in batches(images, seed=seed).epoch(epoch)]).tolist()

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=1)


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop-flip"])
def test_an_epoch_gone_into_midway_is_the_rest_of_it(images: Images, augmentation: str) -> None:
    made = batches(images, augmentation=augmentation)
    whole, rest = list(made.epoch(2)), list(made.epoch(2, start=1))
    assert len(rest) == 2
    for (pixels, labels), (same_pixels, same_labels) in zip(islice(whole, 1, None), rest, strict=True):
        assert torch.equal(pixels, same_pixels)
        assert torch.equal(labels, same_labels)


def test_batches_do_not_touch_the_global_generator(images: Images) -> None:
    before = torch.get_rng_state()
    list(batches(images, augmentation="crop-flip").epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_shares_of_all_ranks_are_the_batch(images: Images) -> None:
    made = batches(images, augmentation="crop-flip")
    shares = [list(made.epoch(0, rank=rank, ranks=2)) for rank in range(2)]
    for (whole, labels), (even, _), (odd, _) in zip(made.epoch(0), *shares, strict=True):
        joined = torch.empty_like(whole)
        joined[0::2], joined[1::2] = even, odd
        assert torch.equal(joined, whole)
        assert len(labels) == 16


def test_in_order_keeps_every_image_in_its_place(images: Images) -> None:
    labels = torch.cat([labels for _, labels in in_order(images, mean=MEAN, std=STD, batch_size=16)])
    assert torch.equal(labels, images.labels)


def test_an_unknown_augmentation_is_answered_with_the_known(images: Images) -> None:
    with pytest.raises(ValueError, match="augmentation 'rotate': expected one of none, crop, crop-flip"):
        batches(images, augmentation="rotate")


@pytest.mark.parametrize("batch_size", [0, 51])
def test_a_batch_larger_than_the_set_is_refused(images: Images, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch size {batch_size}: expected 1 to 50"):
        batches(images, batch_size=batch_size)
