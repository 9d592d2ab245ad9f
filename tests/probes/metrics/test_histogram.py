import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probes.metrics.histogram import (
    HALF,
    MANTISSA_BITS,
    SLOTS,
    exponent_counts,
    exponent_histograms,
    merge_histograms,
    rms_octaves,
    sparsities,
)
from probes.schema import bin_edges

floats = arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


def by_edges(x):
    """Counts by the schema's own edges, in float64: negative bins first."""
    edges = bin_edges(-255 * 2**MANTISSA_BITS, 510 * 2**MANTISSA_BITS, mantissa_bits=MANTISSA_BITS)
    x = x[np.isfinite(x)].astype(np.float64)
    magnitude = np.searchsorted(edges[edges.size // 2 :], np.abs(x), side="right") - 1
    bins = np.where(np.signbit(x), -1 - magnitude, magnitude)
    return np.bincount(bins + HALF, minlength=SLOTS)


def in_order(histogram):
    counts = histogram[:SLOTS].numpy()
    return np.concatenate([counts[HALF - 1 :: -1], counts[HALF:]])


@given(floats)
def test_every_element_is_in_the_bin_of_the_schema_edges(x):
    histogram = exponent_histograms([torch.from_numpy(x)])[0]
    ordered = in_order(histogram)
    inner = slice(2**MANTISSA_BITS, SLOTS - 2**MANTISSA_BITS)
    np.testing.assert_array_equal(ordered[inner], by_edges(x)[inner])


@given(floats)
def test_a_histogram_accounts_for_every_element(x):
    histogram = exponent_histograms([torch.from_numpy(x)])[0]
    assert histogram[:SLOTS].sum().item() == x.size
    assert histogram[SLOTS].item() == np.count_nonzero(x == 0)
    if x.size:
        assert shares(torch.from_numpy(x))[2].item() == np.count_nonzero(~np.isfinite(x))


@given(floats, floats)
def test_merging_two_halves_equals_the_whole_exactly(a, b):
    parts = exponent_counts([torch.from_numpy(a), torch.from_numpy(b)])
    whole = exponent_counts([torch.from_numpy(np.concatenate([a, b]))])[0]
    assert torch.equal(merge_histograms(parts), whole)


def test_a_tensor_longer_than_a_chunk_is_counted_whole():
    x = torch.randn(2_500_000, generator=torch.Generator().manual_seed(0))
    histogram = exponent_histograms([x])[0]
    np.testing.assert_array_equal(in_order(histogram), by_edges(x.numpy()))


def test_tensors_are_counted_together_as_each_would_be_alone():
    generator = torch.Generator().manual_seed(1)
    sizes = [3, 600_000, 500_000, 0, 7, 9, 1_200_000, 4, 5, 6, 7, 8, 9]  # few and many in a batch, and one alone
    tensors = [torch.randn(size, generator=generator).relu() for size in sizes]
    alone = torch.cat([exponent_histograms([tensor]) for tensor in tensors])
    assert torch.equal(exponent_histograms(tensors), alone)
    np.testing.assert_array_equal(alone[6, SLOTS], np.count_nonzero(tensors[6].numpy() == 0))


def test_counting_changes_nothing_it_is_given():
    given = [torch.linspace(-1, 1, 5), torch.ones(2, dtype=torch.float64)]
    kept = [tensor.clone() for tensor in given]
    exponent_histograms(given)
    exponent_histograms(given[:1])
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))


def shares(*tensors):
    return sparsities(exponent_histograms(list(tensors)).numpy().T)


def near(x, k=10):
    """The definition, element by element, in float64."""
    x = x.double().numpy().ravel()
    rms = np.sqrt(np.square(x).mean())
    return (np.abs(x) < 2.0 ** (np.floor(np.log2(rms)) - k)).mean()


@pytest.mark.parametrize("scale", [1.0, 1e-7, 3e9, 1e-25, 1e25])
def test_near_sparsity_is_the_share_below_a_thousandth_of_the_rms(scale):
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(2)) ** 3 * scale
    assert shares(x)[1].item() == pytest.approx(near(x), abs=0)
    assert 0 < near(x) < 1


@pytest.mark.parametrize("seed", range(20))
def test_the_threshold_follows_from_the_rms_and_not_from_the_octaves(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5_000, generator=generator) * torch.rand((), generator=generator)
    x[:50] *= torch.logspace(0, -6, 50)
    assert shares(x)[1].item() == near(x)


@pytest.mark.parametrize("count", [1, 3, 7, 28, 1000, 70_000])
@pytest.mark.parametrize("power", [-3, 0, 5])
def test_an_rms_that_is_a_power_of_two_is_in_the_octave_that_begins_there(count, power):
    x = torch.full((count,), 2.0**power)
    bits = exponent_histograms([x])[:, SLOTS + 1].numpy()
    assert rms_octaves(bits, np.array([count])).tolist() == [power]


def test_sparsity_counts_exact_zeros_of_both_signs_and_no_subnormals():
    x = torch.tensor([0.0, -0.0, 1e-45, 1.0])
    assert shares(x)[0].item() == 0.5


def test_all_zeros_are_sparse_and_near_sparse_and_nothing_is_undefined():
    found = shares(torch.zeros(5), torch.empty(0))
    assert found[:, 0].tolist() == [1, 1, 0]
    assert np.isnan(found[:2, 1]).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_near_sparsity_of_a_diverged_tensor_is_nan(bad):
    sparsity, near_sparsity, nonfinite = shares(torch.tensor([0.0, bad, 1.0, 2.0]))[:, 0]
    assert sparsity == 0.25
    assert np.isnan(near_sparsity)
    assert nonfinite == 1
