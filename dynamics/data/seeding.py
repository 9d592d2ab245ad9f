"""Independent random streams derived from one seed."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """Return a seed of its own for each use of one seed: ``derive_seed(0, "order", 3)``.

    The first 63 bits of a SHA-256 of the words, so that neighbouring seeds and epochs share nothing, and the same words
    give the same stream on every machine and Python version.
    """
    digest = hashlib.sha256(repr((seed, *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """Return a CPU generator of the stream that the words name; the global generators are left alone."""
    return torch.Generator().manual_seed(derive_seed(seed, *words))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices), and choose cuDNN's repeatable kernels."""
    random.seed(seed)
    np.random.seed(derive_seed(seed, "numpy") % 2**32)  # noqa: NPY002  (user code may draw from the global generator)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
