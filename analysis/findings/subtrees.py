"""Branches of a network: the layers below one module at the top of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def in_silent_subtree(layers: Sequence[str], silent: np.ndarray) -> np.ndarray:
    """Return the layers of branches that have several layers, all of them silent, ``(layers,)``.

    >>> in_silent_subtree(["teacher.0", "teacher.1", "head"], np.array([True, True, True])).tolist()
    [True, True, False]
    """
    branch, counts = np.unique([name.partition(".")[0] for name in layers], return_inverse=True)
    total = np.bincount(counts, minlength=len(branch))
    quiet = np.bincount(counts, weights=silent, minlength=len(branch))
    return np.asarray(((quiet == total) & (total > 1))[counts])
