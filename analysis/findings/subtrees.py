"""Branches of a network: the layers below one module at the top of the model, and siblings below one module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.findings.history import ever


def in_silent_subtree(layers: Sequence[str], silent: np.ndarray) -> np.ndarray:
    """Return the layers of branches that have several layers, all of them silent, ``(layers,)``.

    >>> in_silent_subtree(["teacher.0", "teacher.1", "head"], np.array([True, True, True])).tolist()
    [True, True, False]
    """
    branch, counts = np.unique([name.partition(".")[0] for name in layers], return_inverse=True)
    total = np.bincount(counts, minlength=len(branch))
    quiet = np.bincount(counts, weights=silent, minlength=len(branch))
    return np.asarray(((quiet == total) & (total > 1))[counts])


def beside_chosen(layers: Sequence[str], active: np.ndarray) -> np.ndarray:
    """Return the layers of modules in which some layers run at some records only, ``(layers,)``.

    The module's name is the part of a layer's name before its last number: ``experts`` of ``experts.0.up``.

    Args:
        layers: The layers' names.
        active: Whether each is run, ``(records, layers)``.

    >>> beside_chosen(["experts.0", "experts.1", "head"], np.array([[1, 0, 1], [0, 0, 1]], bool)).tolist()
    [True, True, False]
    """
    parents = [_numbered_parent(name) for name in layers]
    sometimes = ever(active) & ever(~active)
    chosen = {parent for parent, some in zip(parents, sometimes, strict=True) if some and parent}
    return np.array([parent in chosen for parent in parents])


def _numbered_parent(name: str) -> str:
    parts = name.split(".")
    numbered = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1]]) if numbered else ""
