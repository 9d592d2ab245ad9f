"""Read back the lines that a page holds."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np


def lines_in(data: dict[str, Any], key: str) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return steps and values of the lines of a column, by run and layer (or split)."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(data["blocks"][key])), np.uint8)
    lists = [data["names"]["lists"][place] for place in data["names"]["of"][key.partition(".")[0]]]
    keys = [(run["id"], name) for run, names in zip(data["runs"], lists, strict=True) for name in names]
    counts, raw = _planes(raw, len(keys), "<u4")
    points = int(counts.sum())
    deltas, raw = _planes(raw, points, "<f8")
    values, raw = _planes(raw, points, "<f4")
    assert not raw.size
    ends = np.cumsum(counts)
    parts = zip(keys, ends - counts, ends, strict=True)
    return {key: (np.cumsum(deltas[a:b]), values[a:b]) for key, a, b in parts if b > a}


def _planes(raw: np.ndarray, count: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    size = np.dtype(kind).itemsize
    planes = raw[: size * count].reshape(size, count)
    return np.ascontiguousarray(planes.T).view(kind).ravel(), raw[size * count :]
