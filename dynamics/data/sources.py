"""Data sets, by the names that ``--data`` takes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dynamics.data.images import DataSet
from dynamics.data.mnist_subset import load_mnist_subset
from dynamics.data.own_images import load_folder, load_npz
from dynamics.data.text.text_file import PREFIX
from dynamics.data.torchvision_sets import SOURCES, load_torchvision

SHIPPED = "mnist-subset"
OWN = {"folder": load_folder, "npz": load_npz}
NAMES = (SHIPPED, *SOURCES, *(f"{kind}:PATH" for kind in OWN))
WITH_TEXT = (*NAMES, f"{PREFIX}PATH")


def load_data(name: str = SHIPPED, *, data_dir: str | PathLike[str] = "data", download: bool = False) -> DataSet:
    """Return a set of images by name; texts are read by :func:`~dynamics.data.text.text_file.load_text`.

    Args:
        name: ``mnist-subset`` (shipped), ``mnist``, ``fashion-mnist``, ``svhn``, ``cifar10``, ``folder:PATH`` or
            ``npz:PATH``.
        data_dir: The folder that torchvision calls ``root``.
        download: Download files that are missing in ``data_dir``.

    Raises:
        ValueError: The name is unknown or names a text, or files are damaged.
        FileNotFoundError: Files are missing.
    """
    kind, _, path = name.partition(":")
    if name == SHIPPED:
        return load_mnist_subset()
    if name in SOURCES:
        return load_torchvision(name, data_dir=Path(data_dir), download=download)
    if kind in OWN and path:
        return OWN[kind](Path(path))
    if name.startswith(PREFIX):
        raise ValueError(
            f"data set {name!r} is a text, and images are needed here: expected one of {', '.join(NAMES)}. "
            "`meandrift train --model transformer` reads texts."
        )
    raise ValueError(f"data set {name!r}: expected one of {', '.join(WITH_TEXT)}.")
