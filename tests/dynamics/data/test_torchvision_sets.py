from __future__ import annotations

import hashlib
import pickle
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from dynamics.data.sources import load_data
from dynamics.data.torchvision_sets import SOURCES


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def fashion(tmp_path: Path, write_idx: Any, rng: np.random.Generator) -> tuple[Path, np.ndarray, np.ndarray]:
    images, labels = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20, dtype=np.uint8) % 10
    write_idx(tmp_path / "FashionMNIST", images, labels)
    return tmp_path, images, labels


def test_idx_files_are_read_whole(fashion: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, images, labels = fashion
    data = load_data("fashion-mnist", data_dir=folder)
    assert np.array_equal(data.train.pixels.numpy(), images[:, None])
    assert np.array_equal(data.test.labels.numpy(), labels)


def test_cifar10_is_channels_first(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    flat = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
    checked = []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]:
        content = {"data": flat, "labels": list(range(10)), "label_names": list("abcdefghij")}
        (folder / name).write_bytes(pickle.dumps(content))
        checked.append([name, md5(folder / name)])
    monkeypatch.setattr(datasets.CIFAR10, "train_list", checked[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", checked[5:6])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": checked[6][1]}
    )
    data = load_data("cifar10", data_dir=tmp_path)
    assert np.array_equal(data.test.pixels.numpy(), flat.reshape(10, 3, 32, 32))
    assert len(data.train) == 50
    assert data.train.pixels.is_contiguous()


def test_svhn_is_channels_first(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = rng.integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
    splits = {}
    for split in ("train", "test"):
        file = f"{split}_32x32.mat"
        # SVHN writes the digit 0 as label 10.
        savemat(tmp_path / file, {"X": pixels, "y": np.arange(1, 11, dtype=np.uint8)[:, None]})
        splits[split] = ["", file, md5(tmp_path / file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    data = load_data("svhn", data_dir=tmp_path)
    assert np.array_equal(data.train.pixels.numpy(), pixels.transpose(3, 2, 0, 1))
    assert data.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_missing_files_are_named_with_two_ways_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 is missing \(6 of 6 files\).*--data-dir.*--download"):
        load_data("cifar10", data_dir=tmp_path)


def test_a_wrong_checksum_is_told(tmp_path: Path, write_idx: Any) -> None:
    write_idx(tmp_path / "MNIST", np.zeros((10, 28, 28), np.uint8), np.arange(10, dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte has md5 \w+, expected 6bbc9ace898e44ae57da46a324031adb"
    ):
        load_data("mnist", data_dir=tmp_path)


def test_a_truncated_file_is_told(fashion: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, *_ = fashion
    file = folder / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"the test files in .* cannot be read .* truncated or damaged"):
        load_data("fashion-mnist", data_dir=folder)


def test_a_damaged_cifar10_batch_is_told(tmp_path: Path) -> None:
    for file in SOURCES["cifar10"].files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"not a batch")
    with pytest.raises(ValueError, match=r"'cifar10': the train files in .* cannot be read .*corrupted"):
        load_data("cifar10", data_dir=tmp_path)


def test_no_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(FileNotFoundError, match=r"'cifar10': the download failed .*no network.* copy to"):
        load_data("cifar10", data_dir=tmp_path, download=True)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_scipy(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    for file in SOURCES["svhn"].files:
        (tmp_path / file).touch()
    monkeypatch.setattr(datasets, "SVHN", without_scipy)
    with pytest.raises(ValueError, match="'svhn' needs the package scipy: pip install scipy"):
        load_data("svhn", data_dir=tmp_path)


def test_an_unknown_data_set_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"data set 'minst': expected one of mnist-subset, .*, folder:PATH, npz:PATH"):
        load_data("minst")
