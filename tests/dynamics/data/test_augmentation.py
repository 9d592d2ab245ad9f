from __future__ import annotations

import torch

from dynamics.data.augmentation import PADDING, crop, draw, pad


def test_crops_and_mirror_images_equal_those_made_one_by_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=generator)
    draws = draw(50, flip=True, generator=generator)
    index = torch.randperm(50, generator=generator)[:20]
    cropped = crop(pad(images), index, draws[index])
    for made, i in zip(cropped, index.tolist(), strict=True):
        padded = torch.zeros(3, 16, 16, dtype=torch.uint8)
        padded[:, PADDING:-PADDING, PADDING:-PADDING] = images[i]
        row, column = int(draws.rows[i]), int(draws.columns[i])
        expected = padded[:, row : row + 8, column : column + 8]
        assert torch.equal(made, expected.flip(-1) if draws.mirrored[i] else expected)


def test_every_crop_is_as_likely_and_half_are_mirrored(seed: int) -> None:
    count = 81_000
    draws = draw(count, flip=True, generator=torch.Generator().manual_seed(seed))
    places = torch.bincount(9 * draws.rows + draws.columns, minlength=81).double()
    # Expected 1,000 each with standard deviation 31: five of them is a chance of one in 30,000 over all 81.
    assert (places - count / 81).abs().max() < 5 * 31.6
    assert abs(draws.mirrored.double().mean() - 0.5) < 5 * 0.5 / count**0.5


def test_without_flip_the_crops_are_the_same_and_nothing_is_mirrored(seed: int) -> None:
    plain = draw(100, flip=False, generator=torch.Generator().manual_seed(seed))
    flipped = draw(100, flip=True, generator=torch.Generator().manual_seed(seed))
    assert not plain.mirrored.any()
    assert torch.equal(plain.rows, flipped.rows)
    assert torch.equal(plain.columns, flipped.columns)
