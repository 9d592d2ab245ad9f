"""Independent random streams derived from one seed."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """Return a separate seed for each use of a seed: ``derive_seed(0, "order", 3)``.

    The result is the first 63 bits of a SHA-256 of seed and words. Neighbouring seeds and epochs thus have unrelated
    streams, and the same words give the same stream on every machine and Python version.
    """
    digest = hashlib.sha256(repr((seed, *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """Return a CPU generator for the stream that the words name. The global generators are not changed."""
    return torch.Generator().manual_seed(derive_seed(seed, *words))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices), and select cuDNN's deterministic kernels."""
    random.seed(seed)
    np.random.seed(derive_seed(seed, "numpy") % 2**32)  # noqa: NPY002  (user code may draw from the global generator)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
