"""Streaming moments are those of the whole set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamics.gan.scoring.moments import Moments, moments


def features(n: int = 64, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(cuts=st.lists(st.integers(1, 63), max_size=6, unique=True))
def test_merged_parts_give_the_moments_of_the_whole_however_it_is_cut(cuts: list[int]) -> None:
    x = features()
    whole = moments(x.tensor_split(sorted(cuts)))
    assert whole.count == 64
    torch.testing.assert_close(whole.mean, x.mean(dim=0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(whole.covariance, torch.cov(x.mT), rtol=1e-12, atol=1e-13)


def test_a_large_common_mean_costs_no_digits_of_the_covariance() -> None:
    x = features(1000)
    shifted = (x + 1e6).split(100)
    torch.testing.assert_close(moments(shifted).covariance, torch.cov((x + 1e6).mT), rtol=1e-9, atol=1e-9)
    sum_of_squares = sum(part.mT @ part for part in shifted)
    mean = torch.cat(shifted).mean(dim=0)
    naive = (sum_of_squares - 1000 * torch.outer(mean, mean)) / 999
    assert (naive - torch.cov(x.mT)).abs().max() > 1e-5, "the naive formula should have lost digits here"


def test_moments_are_of_float64_whatever_came_in() -> None:
    x = (features(1000).float() + 1000).bfloat16()
    torch.testing.assert_close(Moments.of(x).covariance, torch.cov(x.double().mT))


def test_nan_features_are_seen() -> None:
    x = features()
    x[3, 1] = float("nan")
    found = Moments.of(x) + Moments.of(features(seed=1))
    assert found.mean[1].isnan()
    assert found.mean[0].isfinite()


def test_one_vector_has_a_mean_and_no_covariance() -> None:
    one = Moments.of(features(1))
    assert one.mean.isfinite().all()
    with pytest.raises(ValueError, match="at least 2 feature vectors, got 1"):
        _ = one.covariance


@pytest.mark.parametrize("shape", [(0, 5), (5,), (2, 3, 4)])
def test_what_is_not_a_matrix_of_features_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features of shape \(.*\): expected \(n, d\) with n >= 1"):
        Moments.of(torch.zeros(shape))


def test_unlike_extractors_do_not_add() -> None:
    with pytest.raises(ValueError, match="moments of 5 and of 4 features do not add"):
        Moments.of(features()) + Moments.of(features(d=4))


def test_no_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="no feature batches"):
        moments([])
