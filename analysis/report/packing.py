"""Numbers as text in a page: bytes of equal significance side by side, deflated, in base64."""

from __future__ import annotations

import base64
import zlib

import numpy as np

LEAST_BITS, MOST_BITS = 8, 23  # fewest and most bits of a float32's mantissa


def packed(*arrays: np.ndarray) -> str:
    """Return arrays as base64 of :func:`deflated`."""
    return base64.b64encode(deflated(*arrays)).decode()


def deflated(*arrays: np.ndarray) -> bytes:
    """Return the little-endian bytes of arrays, one after the other, as a zlib stream.

    For each array the first bytes of all numbers come first, then the second bytes, and so on. Signs and exponents then
    repeat and take little space.
    """
    return zlib.compress(b"".join(_byte_planes(array) for array in arrays), level=9)


def _byte_planes(array: np.ndarray) -> bytes:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize).T.tobytes()


def as_deltas(steps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the steps of lines, one line after the other, as the first step of each line and differences after it.

    Args:
        steps: Ascending within a line, ``(points,)``.
        counts: Points of each line, ``(lines,)``.
    """
    deltas = np.diff(steps, prepend=0).astype("float64")
    starts = (np.cumsum(counts) - counts)[np.asarray(counts) > 0]
    deltas[starts] = steps[starts]
    return deltas


def rounded(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the values of lines with as few bits of the mantissa as a screen can show, float32.

    The error is at most a 500th of a value, and a 500th of the range of its line: half a pixel of a chart. NaN and
    infinities stay.

    Args:
        values: ``(points,)``, one line after the other.
        counts: Points of each line, ``(lines,)``.
    """
    exact = np.asarray(values, "float64")
    finite = np.isfinite(exact)
    some = np.asarray(counts)[np.asarray(counts) > 0]
    if not some.size:
        return exact.astype("float32")
    starts = np.cumsum(some) - some
    high = np.maximum.reduceat(np.where(finite, exact, -np.inf), starts)
    low = np.minimum.reduceat(np.where(finite, exact, np.inf), starts)
    size = np.maximum.reduceat(np.where(finite, np.abs(exact), 0), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        needed = np.log2(512 * size / (high - low))
    bits = np.repeat(np.clip(np.ceil(np.nan_to_num(needed)), LEAST_BITS, MOST_BITS), some).astype(np.int32)
    fraction, exponent = np.frexp(np.where(finite, exact, 0))
    short = np.ldexp(np.round(np.ldexp(fraction, bits + 1)), exponent - bits - 1)
    largest = float(np.finfo("float32").max)
    return np.where(finite, np.clip(short, -largest, largest), exact).astype("float32")
