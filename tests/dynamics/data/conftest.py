"""Small files in the official formats."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteIdx = Callable[[Path, np.ndarray, np.ndarray], None]


def _idx(array: np.ndarray) -> bytes:
    """Return an array of uint8 in the idx format: magic 0x0000080<dimensions>, sizes, bytes."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def write_idx() -> WriteIdx:
    """Return a function that writes images and labels as both splits of an MNIST-like folder."""

    def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
        (folder / "raw").mkdir(parents=True)
        for split in ("train", "t10k"):
            (folder / "raw" / f"{split}-images-idx3-ubyte").write_bytes(_idx(images))
            (folder / "raw" / f"{split}-labels-idx1-ubyte").write_bytes(_idx(labels))

    return write
