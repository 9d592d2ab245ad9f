"""What every test may ask for."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return a seed of the test's own, the same in every session."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Return a seeded NumPy generator."""
    return np.random.default_rng(seed)
