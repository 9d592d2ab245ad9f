from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.summaries.densities import central_range, histogram_density, pooled, rebinned, shares_by_octave
from probes.schema import bin_edges


def recorded(values: np.ndarray, *, mantissa_bits: int = 2, first: int = -800, last: int = 800) -> pd.DataFrame:
    """Count values into the store's bins, the naive way."""
    edges = bin_edges(first, last - first, mantissa_bits=mantissa_bits)
    finite = values[np.isfinite(values)]
    counts = np.histogram(finite, edges)[0].astype(np.int32)
    assert counts.sum() == len(finite)
    return pd.DataFrame(
        {
            "first_bin": [first],
            "counts": [counts],
            "mantissa_bits": [mantissa_bits],
            "n": [len(values)],
            "n_zero": [int((values == 0).sum())],
            "n_nonfinite": [int((~np.isfinite(values)).sum())],
        }
    )


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=4000) * 10.0 ** rng.uniform(-3, 0, size=4000)


def test_a_density_integrates_to_the_share_within_its_edges(values: np.ndarray) -> None:
    edges = np.linspace(-40, 40, 30)
    density = histogram_density(recorded(values), edges)
    assert (density * np.diff(edges)).sum() == pytest.approx(1.0)


def test_a_density_is_the_true_one_where_edges_fall_on_recorded_edges(values: np.ndarray) -> None:
    edges = bin_edges(-520, 1040, mantissa_bits=2)[::4]
    expected = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
    np.testing.assert_allclose(histogram_density(recorded(values), edges), expected)


def test_an_element_of_a_recorded_bin_is_shared_out_evenly() -> None:
    # Bin 508 of 4 bins an octave is [1, 1.25): half of it is [1, 1.125).
    density = histogram_density(recorded(np.array([1.0])), np.array([1.0, 1.125, 1.25, 2.0]))
    np.testing.assert_allclose(density, [4.0, 4.0, 0.0])


def test_nan_elements_lower_the_density_and_are_in_no_bin() -> None:
    whole, broken = np.array([1.0, -1.0]), np.array([1.0, -1.0, np.nan, np.inf])
    edges = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(
        histogram_density(recorded(broken), edges), histogram_density(recorded(whole), edges) / 2
    )


def test_histograms_of_different_windows_add_exactly(values: np.ndarray) -> None:
    parts = pd.concat([recorded(values[:1000], first=-600, last=560), recorded(values[1000:])], ignore_index=True)
    together, once = pooled(parts), pooled(recorded(values))
    np.testing.assert_array_equal(together.counts, once.counts)
    np.testing.assert_array_equal(together.edges, once.edges)
    assert (together.n, together.n_zero) == (once.n, once.n_zero)


def test_the_share_of_exact_zeros_stands_beside_the_density() -> None:
    table = rebinned(pooled(recorded(np.array([0.0, 0.0, 1.0, -1.0]))), np.array([-2.0, 0.0, 2.0]))
    assert table["share_zero"].tolist() == [0.5, 0.5]


def test_bins_of_different_width_do_not_add() -> None:
    mixed = pd.concat([recorded(np.ones(2)), recorded(np.ones(2), mantissa_bits=0, first=-200, last=200)])
    with pytest.raises(ValueError, match=r"mantissa_bits \[0, 2\] cannot be added"):
        pooled(mixed)


def test_no_histogram_raises() -> None:
    with pytest.raises(ValueError, match="no histogram to add up: the table has no row"):
        pooled(recorded(np.ones(1)).iloc[:0])


def test_a_table_without_counts_raises() -> None:
    with pytest.raises(ValueError, match="no column counts"):
        pooled(recorded(np.ones(1)).drop(columns="counts"))


@pytest.mark.parametrize("edges", [[1.0], [1.0, 1.0], [2.0, 1.0], [[0.0, 1.0]]])
def test_edges_that_do_not_ascend_raise(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="edges must ascend"):
        histogram_density(recorded(np.ones(1)), np.array(edges))


def test_the_central_range_holds_its_share_of_every_row(rng: np.random.Generator) -> None:
    parts = [rng.normal(size=2000) * scale for scale in (0.01, 1.0)]
    reach = central_range(pd.concat([recorded(part) for part in parts], ignore_index=True), share=0.9)
    assert min((np.abs(part) <= reach).mean() for part in parts) >= 0.9
    assert reach < 3


def test_a_tensor_of_nan_asks_for_no_range() -> None:
    broken = recorded(np.array([np.nan]))
    assert central_range(broken, share=0.9) == 1.0
    small = recorded(np.full(9, 1e-3))
    together = pd.concat([small, broken], ignore_index=True)
    assert central_range(together, share=0.9) == central_range(small, share=0.9) < 2e-3


def test_shares_by_octave_equal_a_naive_count(values: np.ndarray) -> None:
    table = shares_by_octave(recorded(values).assign(step=0), by=["step"], octaves=8)
    top = int(table["top"].iloc[0])
    assert np.abs(values).max() <= 2.0**top < 2.5 * np.abs(values).max()
    for octave, share in zip(table["octave"], table["share"], strict=True):
        if octave == 0:
            inside = np.abs(values) < 2.0 ** (top - 8)
        else:
            low = 2.0 ** (top - 8 + abs(octave) - 1)
            inside = (np.abs(values) >= low) & (np.abs(values) < 2 * low) & (np.sign(values) == np.sign(octave))
        assert share == pytest.approx(inside.mean(), abs=1e-12)


def test_shares_of_an_empty_and_of_a_nan_tensor_are_not_numbers_out_of_thin_air() -> None:
    empty = shares_by_octave(recorded(np.array([])).assign(step=0), by=["step"], octaves=2)
    assert empty["share"].isna().all()
    broken = shares_by_octave(recorded(np.array([np.nan])).assign(step=0), by=["step"], octaves=2)
    assert (broken["share"] == 0).all()
