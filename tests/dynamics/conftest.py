"""A data set so small that a test may train on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture
def float64() -> Iterator[None]:
    """Train in double precision, where Adam makes no steps of rounding: see ``test_ranks.py``."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a data set of 64 training and 20 test images, 8x8, of four classes that can be learned."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    arrays = {}
    for split, count in (("train", 64), ("test", 20)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 64, (count, 8, 8), dtype=np.uint8)
        images[labels == 0, ::2, :] += 190  # rows
        images[labels == 1, :, ::2] += 190  # columns
        images[labels == 2] += 190  # bright; class 3 is dark
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(path, **arrays)
    return f"npz:{Path(path)}"
