"""User data sets: a folder of image files, or arrays in an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dynamics.data.images import DataSet, Images
from dynamics.data.limits import check_memory, check_pixels, read_arrays, reading_picture

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
SPLITS = ("train", "test")


def load_npz(path: Path) -> DataSet:
    """Return the data set in an ``.npz`` file with the arrays :data:`ARRAYS`.

    Images are uint8, ``(n, size, size)`` or ``(n, size, size, channels)``; labels are integers from 0.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no ``.npz``, is damaged or lacks an array, or the arrays' shapes do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data set 'npz:{path}': there is no such file; check the path.")
    try:
        arrays = read_arrays(path, ARRAYS)
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds of errors on damaged bytes
        raise ValueError(f"data set 'npz:{path}' cannot be read: {error}.") from error
    train, test = (Images(_pixels(arrays[f"{s}_images"]), _labels(arrays[f"{s}_labels"])) for s in SPLITS)
    return _data_set(f"npz:{path}", train, test, num_classes=int(train.labels.max()) + 1 if len(train) else 0)


def load_folder(path: Path) -> DataSet:
    """Return the pictures under ``path/train/<class>/`` and ``path/test/<class>/``, all of one square size.

    Classes are numbered in alphabetical order. Images have one channel if every training picture is grey, else three.

    Raises:
        FileNotFoundError: A split's folder is missing or holds no class folder with a picture.
        ValueError: Pictures have different sizes, or the test classes are not the training classes.
    """
    from torchvision.datasets import ImageFolder

    folders = {}
    for split in SPLITS:
        try:
            folders[split] = ImageFolder(str(path / split), loader=str)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"data set 'folder:{path}': no pictures in {path / split}; expected {path / split}/<class>/<picture>."
            ) from error
    train, test = folders["train"], folders["test"]
    if train.classes != test.classes:
        raise ValueError(
            f"data set 'folder:{path}': training classes {train.classes}, test classes {test.classes}; they must agree."
        )
    mode = "L" if all(_is_grey(file) for file, _ in train.samples) else "RGB"
    read = [Images(_read_pictures(f.samples, mode), torch.tensor(f.targets)) for f in (train, test)]
    return _data_set(f"folder:{path}", *read, num_classes=len(train.classes))


def _is_grey(file: str) -> bool:
    from PIL import Image

    with reading_picture(file), Image.open(file) as picture:
        return picture.mode in ("1", "L")


def _read_pictures(samples: list[tuple[str, int]], mode: str) -> torch.Tensor:
    from PIL import Image

    pictures, size = [], None
    for file, _ in samples:
        with reading_picture(file), Image.open(file) as opened:
            check_pixels(opened.size)
            check_memory(len(samples) * opened.width * opened.height * len(mode), f"{len(samples):,} such pictures")
            picture = np.asarray(opened.convert(mode))
        size = size or picture.shape[:2]
        if picture.shape[:2] != size:
            raise ValueError(
                f"picture {file} is {picture.shape[1]}x{picture.shape[0]} pixels, the first {size[1]}x{size[0]}: "
                "resize them to one size first."
            )
        pictures.append(picture)
    return _pixels(np.stack(pictures))


def _pixels(images: np.ndarray) -> torch.Tensor:
    """Return ``(n, channels, height, width)`` from ``(n, h, w)`` or ``(n, h, w, channels)``."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    if pixels.ndim == 3:
        return pixels.unsqueeze(1)
    return pixels.permute(0, 3, 1, 2).contiguous() if pixels.ndim == 4 else pixels


def _labels(labels: np.ndarray) -> torch.Tensor:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}; expected integers from 0.")
    return torch.from_numpy(labels.astype(np.int64))


def _data_set(name: str, train: Images, test: Images, *, num_classes: int) -> DataSet:
    """Return the data set, with the exact mean and standard deviation of the training pixels."""
    mean, std = [], []
    are_pixels = train.pixels.dtype == torch.uint8 and train.pixels.ndim == 4  # if not, DataSet raises
    for channel in range(train.pixels.shape[1] if are_pixels else 0):
        # Counts of the 256 grey values give exact moments and need no float copy of the images.
        counts = torch.bincount(train.pixels[:, channel].flatten(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        average = float((counts * values).sum() / counts.sum())
        mean.append(average)
        # Constant images have deviation 0, and division by 0 must not follow.
        std.append(float(((counts * (values - average) ** 2).sum() / counts.sum()).sqrt()) or 1.0)
    return DataSet(name, train, test, num_classes=num_classes, mean=tuple(mean), std=tuple(std))
