"""The Frechet distance against closed forms, a dense square root, and torchmetrics where it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import scipy.linalg
import torch

from dynamics.gan.scoring.frechet import frechet_distance
from dynamics.gan.scoring.moments import Moments


def gaussian(mean: torch.Tensor, covariance: torch.Tensor) -> Moments:
    """Moments of a set with exactly this mean and covariance."""
    return Moments(101, mean.double(), covariance.double() * 100)


def features(n: int, d: int, seed: int) -> torch.Tensor:
    """Correlated, shifted features with a spectrum falling like 1/i, as a network's are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64) / torch.arange(1, d + 1)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing + 0.1 * seed


def test_a_shift_of_the_mean_costs_its_square() -> None:
    covariance = torch.diag(torch.tensor([4.0, 9.0]))
    a, b = gaussian(torch.tensor([0.0, 0.0]), covariance), gaussian(torch.tensor([3.0, 4.0]), covariance)
    assert frechet_distance(a, b) == pytest.approx(25.0, rel=1e-14)


def test_commuting_covariances_differ_by_their_deviations() -> None:
    variances_a, variances_b = torch.tensor([4.0, 9.0, 1.0]), torch.tensor([1.0, 16.0, 1.0])
    rotation, _ = torch.linalg.qr(features(3, 3, seed=1))
    a, b = (gaussian(torch.zeros(3), rotation @ v.diag().double() @ rotation.mT) for v in (variances_a, variances_b))
    expected = ((variances_a.sqrt() - variances_b.sqrt()) ** 2).sum().item()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-13)


def test_the_distance_equals_the_textbook_square_root() -> None:
    a, b = features(200, 12, seed=1), features(300, 12, seed=2)
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    cross = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(cov_a + cov_b - 2 * cross)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [40, 500], ids=["fewer images than features", "more"])
def test_a_set_is_at_no_distance_from_itself(n: int) -> None:
    x = Moments.of(features(n, 128, seed=1))
    assert frechet_distance(x, x) <= 1e-12 * x.covariance.trace().item()


def test_the_complex_square_root_would_have_left_noise() -> None:
    """Why the roots are taken of the symmetric matrices: 40 images of 128 features, the distance of a set to itself."""
    x = Moments.of(features(40, 128, seed=1))
    eigenvalues = torch.linalg.eigvals(x.covariance @ x.covariance)
    naive = (2 * x.covariance.trace() - 2 * eigenvalues.sqrt().real.sum()).abs().item()
    assert naive > 1e3 * frechet_distance(x, x)
    assert naive > 1e-9 * x.covariance.trace().item()


def test_the_order_of_the_sets_does_not_matter() -> None:
    a, b = Moments.of(features(30, 64, seed=1)), Moments.of(features(90, 64, seed=2))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-11)


def test_halves_of_a_set_are_near_and_noise_is_far() -> None:
    x = features(4000, 16, seed=1)
    halves = frechet_distance(Moments.of(x[:2000]), Moments.of(x[2000:]))
    noise = frechet_distance(Moments.of(x), Moments.of(5 * torch.randn_like(x)))
    assert 0 < halves < 0.02 * x.var(dim=0).sum().item()
    assert noise > 1000 * halves


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_generator_gives_nan_and_no_crash(bad: float) -> None:
    x = features(50, 4, seed=1)
    broken = x.clone()
    broken[0, 0] = bad
    assert np.isnan(frechet_distance(Moments.of(x), Moments.of(broken)))


def test_constant_images_have_the_distance_of_a_point() -> None:
    x = features(50, 4, seed=1)
    point = Moments.of(torch.ones(50, 4))
    expected = ((x.mean(0) - 1) ** 2).sum() + x.var(dim=0).sum()
    assert frechet_distance(Moments.of(x), point) == pytest.approx(expected.item(), rel=1e-12)


def test_unlike_extractors_have_no_distance() -> None:
    with pytest.raises(ValueError, match="features of 4 and of 5 numbers have no distance"):
        frechet_distance(Moments.of(features(9, 4, seed=1)), Moments.of(features(9, 5, seed=1)))


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
@pytest.mark.filterwarnings("ignore")  # torchmetrics warns of its own deprecations
def test_the_distance_agrees_with_torchmetrics_to_1e_6() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = 64

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    theirs = FrechetInceptionDistance(feature=Identity(), input_img_size=(64,)).set_dtype(torch.float64)
    a, b = features(2000, 64, seed=1).float(), features(2000, 64, seed=2).float()
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(theirs.compute().item(), rel=1e-6)
