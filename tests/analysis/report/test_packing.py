from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from analysis.report.packing import as_deltas, packed, rounded


def unpacked(text: str, count: int, kind: str) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(-1, count)
    return np.ascontiguousarray(planes.T).view(kind).ravel()


def test_numbers_survive_packing() -> None:
    values = np.array([0.0, -1.5, np.nan, np.inf, 1e-45], np.float32)
    np.testing.assert_array_equal(unpacked(packed(values), 5, "<f4"), values)


def test_each_line_starts_with_its_first_step() -> None:
    steps, counts = np.array([3, 5, 9, 0, 100]), np.array([3, 0, 2])
    assert as_deltas(steps, counts).tolist() == [3, 2, 4, 0, 100]


@pytest.mark.parametrize("offset", [0.0, 1.0, -1000.0])
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_rounding_errs_by_a_500th_of_value_and_of_range(offset: float, size: float, rng: np.random.Generator) -> None:
    lines = [rng.normal(size=50) * size + offset, np.exp(rng.normal(size=30) * 8) * size]
    short = np.split(rounded(np.concatenate(lines), np.array([50, 30])), [50])
    for exact, found in zip(lines, short, strict=True):
        error, float32 = np.abs(found - exact), 2.0**-23 * np.abs(exact)
        assert (error <= np.abs(exact) / 500).all()
        assert (error <= np.ptp(exact) / 500 + float32).all()


def test_rounding_keeps_what_is_not_finite_and_the_largest_numbers() -> None:
    largest = np.finfo("float32").max
    values = np.array([np.nan, np.inf, -np.inf, 0.0, largest, -largest])
    np.testing.assert_array_equal(rounded(values, np.array([6])), values.astype("float32"))


def test_rounded_noise_takes_less_room(rng: np.random.Generator) -> None:
    noise = rng.normal(size=10_000).astype("float32")
    assert len(packed(rounded(noise, np.array([10_000])))) < 0.6 * len(packed(noise))


def test_nothing_is_rounded_to_nothing() -> None:
    assert rounded(np.zeros(0), np.array([0, 0])).size == 0
