from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dynamics.data.mnist_subset import PATH, load_mnist_subset
from tests.scripts import load_script

SCRIPT = Path(__file__).with_name("make_mnist_subset.py")
make_mnist_subset = load_script(SCRIPT)
first_of_each, pack = make_mnist_subset.first_of_each, make_mnist_subset.pack


def test_the_subset_is_balanced_and_small() -> None:
    subset = load_mnist_subset()
    assert subset.train.labels.bincount().tolist() == [500] * 10
    assert subset.test.labels.bincount().tolist() == [100] * 10
    assert (subset.in_channels, subset.image_size, subset.num_classes) == (1, 28, 10)
    assert PATH.stat().st_size <= 1_500_000


def test_the_digits_are_mnist() -> None:
    # The mean and standard deviation of MNIST's 60,000 training images are 0.1307 and 0.3081.
    pixels = load_mnist_subset().train.pixels.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=0.002)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=0.002)


def test_no_training_image_is_tested_on() -> None:
    subset = load_mnist_subset()
    train = {image.numpy().tobytes() for image in subset.train.pixels}
    assert not any(image.numpy().tobytes() in train for image in subset.test.pixels)


def test_the_first_of_each_label_are_chosen_in_their_order() -> None:
    assert first_of_each(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]


def test_too_few_of_a_label_are_named() -> None:
    with pytest.raises(ValueError, match=r"at least 2 images of every digit; these have fewer: \{1: 1\}"):
        first_of_each(np.array([0, 0, 1]), 2)


def test_packing_is_lossless_and_repeatable(rng: np.random.Generator, tmp_path: Path) -> None:
    images = rng.integers(0, 256, (5, 3, 3), dtype=np.uint8)
    for name in ("a.npz", "b.npz"):
        pack({"images": images}, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as packed:
        assert np.array_equal(packed["images"], images)


def test_the_script_packs_what_it_finds_in_a_torchvision_folder(
    tmp_path: Path, write_idx: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.arange(30, dtype=np.uint8) % 10
    images = np.repeat(np.arange(30, dtype=np.uint8), 28 * 28).reshape(30, 28, 28)
    write_idx(tmp_path / "MNIST", images, labels)  # type: ignore[operator]  # a fixture that is a function
    monkeypatch.setattr(make_mnist_subset, "TRAIN_PER_DIGIT", 2)
    monkeypatch.setattr(make_mnist_subset, "TEST_PER_DIGIT", 1)
    out = tmp_path / "subset.npz"
    monkeypatch.setattr(sys, "argv", ["make_mnist_subset", str(tmp_path), "--out", str(out)])
    make_mnist_subset.main()
    with np.load(out) as packed:
        assert np.array_equal(packed["train_images"], images[:20])
        assert np.array_equal(packed["test_labels"], labels[:10])
    assert f"{out.stat().st_size:,} bytes" in capsys.readouterr().out
