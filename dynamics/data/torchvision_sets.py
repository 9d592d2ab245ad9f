"""The paper's data sets, read through torchvision into whole tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from dynamics.data.images import DataSet, Images
from dynamics.data.mnist_subset import MNIST_MEAN, MNIST_STD

# md5 of the uncompressed files: torchvision checks only the archives it has downloaded itself.
_MNIST_MD5 = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_IDX_NAMES = tuple(Path(name).name for name in _MNIST_MD5)


@dataclass(frozen=True)
class Source:
    """The description of one of torchvision's data sets.

    Attributes:
        class_name: Name of the class in ``torchvision.datasets``.
        files: Files that must exist, relative to the data folder.
        arguments: The class's arguments that choose a split.
        mean: Mean by channel of the training images scaled to 0..1.
        std: Standard deviation by channel.
        md5: Checksums that torchvision does not test itself.
    """

    class_name: str
    files: tuple[str, ...]
    arguments: Callable[[str], dict[str, Any]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    md5: dict[str, str]


def _by_flag(split: str) -> dict[str, Any]:
    return {"train": split == "train"}


def _by_name(split: str) -> dict[str, Any]:
    return {"split": split}


_CIFAR10_FILES = tuple(
    f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)
# Mean and standard deviation of MNIST and CIFAR-10 are those of the released scripts or the usual ones. Those of the
# other two sets are computed from the training images.
SOURCES = {
    "mnist": Source("MNIST", tuple(_MNIST_MD5), _by_flag, MNIST_MEAN, MNIST_STD, _MNIST_MD5),
    "fashion-mnist": Source(
        "FashionMNIST", tuple(f"FashionMNIST/raw/{name}" for name in _IDX_NAMES), _by_flag, (0.2860,), (0.3530,), {}
    ),
    "svhn": Source(
        "SVHN", ("train_32x32.mat", "test_32x32.mat"), _by_name, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), {}
    ),
    "cifar10": Source("CIFAR10", _CIFAR10_FILES, _by_flag, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), {}),
}


def load_torchvision(name: str, *, data_dir: Path, download: bool) -> DataSet:
    """Return one of :data:`SOURCES`, its images as uint8 tensors.

    Raises:
        FileNotFoundError: The files are not in ``data_dir`` and ``download`` is false, or the download failed.
        ValueError: A file is truncated or fails its checksum.
    """
    source = SOURCES[name]
    if not download:
        _check_present(name, source, data_dir)
    _check_md5(name, source, data_dir)
    train, test = (_read(name, source, split, data_dir=data_dir, download=download) for split in ("train", "test"))
    return DataSet(name, train, test, num_classes=10, mean=source.mean, std=source.std)


def _check_present(name: str, source: Source, data_dir: Path) -> None:
    missing = [file for file in source.files if not (data_dir / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"data set {name!r}: {data_dir / missing[0]} is missing ({len(missing)} of {len(source.files)} files). "
            "Name the folder that torchvision knows as its root with --data-dir, or fetch the files with --download."
        )


def _check_md5(name: str, source: Source, data_dir: Path) -> None:
    for file, expected in source.md5.items():
        path = data_dir / file
        if path.is_file() and (found := hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != expected:
            raise ValueError(
                f"data set {name!r}: {path} has md5 {found}, expected {expected}. It is damaged: remove it "
                "and fetch it again with --download."
            )


def _read(name: str, source: Source, split: str, *, data_dir: Path, download: bool) -> Images:
    from torchvision import datasets

    try:
        found = getattr(datasets, source.class_name)(data_dir, download=download, **source.arguments(split))
    except ModuleNotFoundError as error:
        raise ValueError(f"data set {name!r} needs the package {error.name}: pip install {error.name}.") from error
    except (RuntimeError, ValueError, AssertionError, EOFError, OSError, UnpicklingError) as error:
        # torchvision reports a failed download or a damaged file by six kinds of errors, depending on the format.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if missing := [file for file in source.files if not (data_dir / file).is_file()]:
            raise FileNotFoundError(
                f"data set {name!r}: the download failed ({reason}). Without a network, copy to {data_dir} by hand: "
                f"{', '.join(missing)}."
            ) from error
        raise ValueError(
            f"data set {name!r}: the {split} files in {data_dir} cannot be read ({reason}). They are truncated or "
            "damaged: remove them and fetch them again with --download."
        ) from error
    labels = found.labels if source.class_name == "SVHN" else found.targets
    return Images(_channels_first(found.data), torch.as_tensor(np.asarray(labels)).long())


def _channels_first(data: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return ``(n, channels, height, width)`` from torchvision's three layouts."""
    pixels = torch.as_tensor(data)
    if pixels.ndim == 3:
        return pixels.unsqueeze(1)
    if pixels.shape[-1] == 3:  # CIFAR-10 is (n, height, width, channels); SVHN is channels first already
        pixels = pixels.permute(0, 3, 1, 2)
    return pixels.contiguous()
