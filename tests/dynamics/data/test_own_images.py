from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynamics.data.sources import load_data


def save_npz(path: Path, rng: np.random.Generator, **changed: np.ndarray) -> str:
    arrays = {
        "train_images": rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
        "train_labels": np.arange(6) % 3,
        "test_images": rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8),
        "test_labels": np.arange(3),
    }
    np.savez(path, **(arrays | changed))
    return f"npz:{path}"


def test_npz_arrays_become_channels_first_with_their_own_statistics(tmp_path: Path, rng: np.random.Generator) -> None:
    data = load_data(save_npz(tmp_path / "a.npz", rng))
    arrays = np.load(tmp_path / "a.npz")
    assert np.array_equal(data.train.pixels.numpy(), arrays["train_images"].transpose(0, 3, 1, 2))
    scaled = arrays["train_images"].astype(np.float64) / 255
    assert data.mean == pytest.approx(scaled.mean(axis=(0, 1, 2)), rel=1e-12)
    assert data.std == pytest.approx(scaled.std(axis=(0, 1, 2)), rel=1e-12)
    assert data.num_classes == 3


def test_grey_npz_images_have_one_channel(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (6, 8, 8), dtype=np.uint8)
    data = load_data(save_npz(tmp_path / "a.npz", rng, train_images=grey, test_images=grey[:3]))
    assert np.array_equal(data.train.pixels.numpy()[:, 0], grey)


def test_constant_images_are_not_divided_by_zero(tmp_path: Path, rng: np.random.Generator) -> None:
    black = np.zeros((6, 8, 8, 3), dtype=np.uint8)
    data = load_data(save_npz(tmp_path / "a.npz", rng, train_images=black))
    assert (data.mean, data.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_labels": np.arange(5)}, r"6 images and labels \(5,\); expected one label an image"),
        ({"test_labels": np.array([0, 1, 3])}, r"\(test\): labels from 0 to 3; expected 0 to 2"),
        ({"train_labels": np.array([-1, 0, 1, 2, 0, 1])}, r"\(train\): labels from -1 to 2; expected 0 to 2"),
        ({"train_labels": np.arange(6.0)}, "labels are float64; expected integers from 0"),
        ({"train_images": np.zeros((6, 8, 8, 3))}, r"pixels are torch.float64 .*; expected uint8"),
        ({"train_images": np.zeros((6, 8, 9), np.uint8)}, r"pixels are torch.uint8 \(6, 1, 8, 9\); expected"),
        (
            {"test_images": np.zeros((3, 4, 4, 3), np.uint8)},
            r"training images are \(3, 8, 8\), test images \(3, 4, 4\)",
        ),
        ({"train_images": np.zeros((0, 8, 8, 3), np.uint8), "train_labels": np.arange(0)}, "0 images and labels"),
    ],
)
def test_arrays_that_do_not_fit_are_told(
    tmp_path: Path, rng: np.random.Generator, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_data(save_npz(tmp_path / "a.npz", rng, **changed))


def test_an_npz_without_an_array_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros(1))
    with pytest.raises(ValueError, match=r"lacks train_labels, test_images, test_labels; expected the arrays"):
        load_data(f"npz:{tmp_path / 'a.npz'}")


def test_a_truncated_npz_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    name = save_npz(tmp_path / "a.npz", rng)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"a.npz' cannot be read"):
        load_data(name)


def test_a_missing_npz_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_data(f"npz:{tmp_path / 'none.npz'}")


def save_pictures(root: Path, rng: np.random.Generator, *, mode: str = "RGB", size: int = 8) -> str:
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            (root / split / name).mkdir(parents=True)
            pixels = rng.integers(0, 256, (size, size) if mode == "L" else (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / name / "one.png")
    return f"folder:{root}"


def test_a_folder_of_pictures_is_read_in_the_order_of_its_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    data = load_data(save_pictures(tmp_path, rng))
    dogs = np.asarray(Image.open(tmp_path / "train" / "dogs" / "one.png"))
    assert np.array_equal(data.train.pixels[1].numpy(), dogs.transpose(2, 0, 1))
    assert data.train.labels.tolist() == [0, 1]
    assert data.num_classes == 2


def test_grey_pictures_have_one_channel(tmp_path: Path, rng: np.random.Generator) -> None:
    assert load_data(save_pictures(tmp_path, rng, mode="L")).in_channels == 1


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures in .*train; expected .*train/<class>/<picture>"):
        load_data(f"folder:{tmp_path}")


def test_pictures_of_unlike_sizes_are_told(tmp_path: Path, rng: np.random.Generator) -> None:
    name = save_pictures(tmp_path, rng)
    Image.new("RGB", (5, 7)).save(tmp_path / "train" / "dogs" / "two.png")
    with pytest.raises(ValueError, match=r"two.png is 5x7 pixels, the first 8x8: resize them to one size"):
        load_data(name)


def test_a_damaged_picture_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    name = save_pictures(tmp_path, rng)
    (tmp_path / "test" / "cats" / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match=r"picture .*one.png cannot be read"):
        load_data(name)


def test_test_classes_must_be_the_training_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    name = save_pictures(tmp_path, rng)
    (tmp_path / "test" / "dogs").rename(tmp_path / "test" / "wolves")
    with pytest.raises(ValueError, match=r"training classes \['cats', 'dogs'\], test classes \['cats', 'wolves'\]"):
        load_data(name)
