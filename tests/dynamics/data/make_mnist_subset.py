"""Make ``mnist_subset.npz`` from the official MNIST files.

``python tests/dynamics/data/make_mnist_subset.py FOLDER`` takes the folder that torchvision knows as its root (it holds
``MNIST/raw``). The subset is the first 500 training and the first 100 test images of every digit, in their original
order, so that it can be checked against the source by eye. An ``.npz`` is a zip file: its members are packed with
LZMA, which NumPy reads back unaided and which beat, in bytes, PNG and lossless WebP mosaics, deflate and bzip2.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np

from dynamics.data.mnist_subset import PATH, TEST_PER_DIGIT, TRAIN_PER_DIGIT


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the indices, ascending, of the first ``count`` images of every label.

    Raises:
        ValueError: A label has fewer than ``count`` images.
    """
    short = {int(label): int(n) for label, n in zip(*np.unique(labels, return_counts=True), strict=True) if n < count}
    if short:
        raise ValueError(f"expected at least {count} images of every digit; these have fewer: {short}.")
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def pack(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays as an LZMA-packed ``.npz``, the same bytes each time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            # A fixed date, so that the same images give the same file.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_LZMA
            with archive.open(member, "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array))


def main() -> None:
    """Read MNIST, choose the subset, write it and say how large it is."""
    from torchvision.datasets import MNIST

    parser = argparse.ArgumentParser(description="Make the shipped MNIST subset from the official MNIST files.")
    parser.add_argument("folder", type=Path, help="torchvision's root folder, which holds MNIST/raw")
    parser.add_argument("--out", type=Path, default=PATH, help="file to write (default: the shipped one)")
    arguments = parser.parse_args()

    arrays = {}
    for split, count in (("train", TRAIN_PER_DIGIT), ("test", TEST_PER_DIGIT)):
        mnist = MNIST(arguments.folder, train=split == "train")
        labels = mnist.targets.numpy()
        chosen = first_of_each(labels, count)
        arrays[f"{split}_images"] = mnist.data.numpy()[chosen]
        arrays[f"{split}_labels"] = labels[chosen].astype(np.uint8)
    pack(arrays, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
