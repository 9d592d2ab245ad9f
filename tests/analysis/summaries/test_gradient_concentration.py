"""Concentration from histograms: the truth lies within the stated error, which the bins' width alone allows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.densities import pooled
from analysis.summaries.gradient_concentration import (
    Magnitudes,
    entries_for_share,
    gradient_concentration,
    kurtosis,
    magnitudes_of,
)
from probes.schema import bin_edges

BITS = 1


def recorded(values: np.ndarray, *, tensor: str = "gradient") -> pd.DataFrame:
    """Count values into the store's bins, the naive way."""
    finite, length = values[np.isfinite(values)], 300
    edges, negative = bin_edges(0, length, mantissa_bits=BITS), np.signbit(finite)
    above, below = (np.histogram(np.abs(finite[sign]), edges)[0] for sign in (~negative, negative))
    counts = np.concatenate([below[::-1], above]).astype(np.int32)
    assert counts.sum() == len(finite)
    return pd.DataFrame(
        {
            "run": ["a"],
            "step": [0],
            "layer": ["x"],
            "tensor": [tensor],
            "first_bin": [-length],
            "counts": [counts],
            "mantissa_bits": [BITS],
            "n": [len(values)],
            "n_zero": [int((values == 0).sum())],
            "n_nonfinite": [int((~np.isfinite(values)).sum())],
        }
    )


def exact_entries(values: np.ndarray, share: float) -> int:
    squares = np.sort(values**2)[::-1]
    return int(np.argmax(np.cumsum(squares) >= share * squares.sum() * (1 - 1e-12))) + 1


def exact_kurtosis(values: np.ndarray) -> float:
    return len(values) * float((values**4).sum()) / float((values**2).sum()) ** 2


def samples(rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = 5000
    return {
        "normal": rng.normal(size=n),
        "heavy": rng.standard_t(3, size=n) * 1e-4,
        "sparse": rng.normal(size=n) * (rng.uniform(size=n) < 0.02),
        "shifted": 5 + rng.normal(size=n),
        "wide": rng.normal(size=n) * 10.0 ** rng.uniform(-6, 0, size=n),
        "equal": np.full(n, 0.7),
        "one": np.array([3.0]),
    }


@pytest.mark.parametrize("name", ["normal", "heavy", "sparse", "shifted", "wide", "equal", "one"])
def test_the_truth_lies_within_the_stated_error(name: str, rng: np.random.Generator) -> None:
    values = samples(rng)[name].astype(np.float32).astype(np.float64)
    found = gradient_concentration(recorded(values)).iloc[0]
    truths = {
        "share_of_entries_90": exact_entries(values, 0.9) / len(values),
        "kurtosis": exact_kurtosis(values),
        "bytes_cosine_0.9": 8 * exact_entries(values, 0.81),
        "bytes_cosine_0.99": 8 * exact_entries(values, 0.9801),
    }
    for column, truth in truths.items():
        low, high = found[f"{column}_low"], found[f"{column}_high"]
        assert low * (1 - 1e-9) <= truth <= high * (1 + 1e-9), (column, low, truth, high)
        assert low * (1 - 1e-9) <= found[column] <= high * (1 + 1e-9)
    assert found["bytes_dense"] == 4 * len(values)


@pytest.mark.parametrize("name", ["normal", "heavy", "sparse", "wide"])
def test_of_smooth_distributions_the_value_is_within_a_few_per_cent(name: str, rng: np.random.Generator) -> None:
    values = samples(rng)[name]
    found = gradient_concentration(recorded(values)).iloc[0]
    assert found["share_of_entries_90"] == pytest.approx(exact_entries(values, 0.9) / len(values), rel=0.05)
    assert found["bytes_cosine_0.99"] == pytest.approx(8 * exact_entries(values, 0.9801), rel=0.05)


def test_the_vector_of_the_entries_sent_has_the_cosine(rng: np.random.Generator) -> None:
    values = samples(rng)["heavy"]
    found = gradient_concentration(recorded(values)).iloc[0]
    for cosine in (0.9, 0.99):
        sent = int(found[f"bytes_cosine_{cosine}_high"]) // 8
        kept = np.where(np.abs(values) >= np.sort(np.abs(values))[-sent], values, 0)
        assert values @ kept / np.linalg.norm(values) / np.linalg.norm(kept) >= cosine


def test_normal_and_equal_entries_have_the_textbook_kurtosis(rng: np.random.Generator) -> None:
    normal = gradient_concentration(recorded(rng.normal(size=200_000))).iloc[0]
    assert normal["kurtosis"] == pytest.approx(3, rel=0.1)  # entries of a bin are nearer to its lower edge than even
    equal = gradient_concentration(recorded(np.full(100, 0.7))).iloc[0]
    assert equal["kurtosis_low"] == pytest.approx(1)


def brute_force(bins: list[tuple[float, float, int]], *, zeros: int, points: int) -> np.ndarray:
    """Return tensors with these bins, each entry at one of a few places of its bin: ``(tensors, entries)``."""
    places = [np.linspace(low, high, points) for low, high, count in bins for _ in range(count)]
    return np.array([[*entries, *[0.0] * zeros] for entries in itertools.product(*places)])


BINS = [
    [(2.0, 3.0, 2), (1.0, 1.5, 3)],
    [(4.0, 6.0, 1), (2.0, 3.0, 2), (0.5, 0.75, 3)],
    [(1.0, 1.5, 5)],
    [(8.0, 12.0, 1), (0.0, 1.5, 3)],
]


@pytest.mark.parametrize("bins", BINS, ids=str)
@pytest.mark.parametrize("share", [0.3, 0.81, 0.9])
def test_the_bounds_of_the_entries_are_met_by_some_tensor(bins: list[tuple[float, float, int]], share: float) -> None:
    low, high, counts = (np.array(column) for column in zip(*bins, strict=True))
    found = entries_for_share(Magnitudes(low, high, counts, int(counts.sum())), share)
    truths = [exact_entries(values, share) for values in brute_force(bins, zeros=0, points=4)]
    assert (found.low, found.high) == (min(truths), max(truths))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("bins", BINS, ids=str)
@pytest.mark.parametrize("zeros", [0, 2])
def test_the_bounds_of_the_kurtosis_are_met_by_some_tensor(bins: list[tuple[float, float, int]], zeros: int) -> None:
    low, high, counts = (np.array(column) for column in zip(*bins, strict=True))
    found = kurtosis(Magnitudes(low, high, counts, int(counts.sum()) + zeros))
    truths = [exact_kurtosis(values) for values in brute_force(bins, zeros=zeros, points=5) if values.any()]
    assert found.high == pytest.approx(max(truths), rel=1e-9)
    assert found.low <= min(truths) * (1 + 1e-9)
    assert found.low == pytest.approx(min(truths), rel=0.05)


def test_both_signs_count_together_and_zeros_hold_nothing() -> None:
    found = magnitudes_of(pooled(recorded(np.array([1.0, -1.0, 1.25, -4.0, 0.0, -0.0]))))
    assert found.low.tolist() == [4.0, 1.0]
    assert found.high.tolist() == [6.0, 1.5]
    assert found.counts.tolist() == [1, 3]
    assert found.n == 6


@pytest.mark.parametrize("values", [[1.0, np.nan], [np.inf], [0.0, 0.0], []], ids=str)
def test_what_has_no_squared_length_is_nan(values: list[float]) -> None:
    found = gradient_concentration(recorded(np.array(values))).iloc[0]
    assert found.drop(["run", "step", "layer", "tensor", "n", "bytes_dense"]).isna().all()


def test_rows_keep_their_keys_and_other_tensors_are_left_out(rng: np.random.Generator) -> None:
    rows = pd.concat(
        [
            recorded(rng.normal(size=50), tensor=tensor).assign(step=step)
            for step in (0, 5)
            for tensor in ("weight", "gradient")
        ],
        ignore_index=True,
    )
    found = gradient_concentration(rows)
    assert found.index.tolist() == [1, 3]
    assert found["step"].tolist() == [0, 5]
    with pytest.raises(
        ValueError, match=r"no histogram of tensor 'activation': the rows have \['gradient', 'weight'\]"
    ):
        gradient_concentration(rows, tensor="activation")
