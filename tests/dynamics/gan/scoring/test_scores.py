"""Scores of whole sets: the naive computation, and the order any score must put images in."""

from __future__ import annotations

import math

import pytest
import torch

from dynamics.data.images import DataSet
from dynamics.data.sources import load_data
from dynamics.gan.scoring import scores as module
from dynamics.gan.scoring.extractors import extract
from dynamics.gan.scoring.extractors.resnet20 import ResNet20
from dynamics.gan.scoring.extractors.small_cnn import SmallCNN, train_small_cnn
from dynamics.gan.scoring.frechet import frechet_distance
from dynamics.gan.scoring.kernel_distance import kernel_distance
from dynamics.gan.scoring.moments import Moments
from dynamics.gan.scoring.scores import column, reference, score, score_draws


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_data("mnist-subset")


@pytest.fixture(scope="module")
def extractor(digits: DataSet) -> SmallCNN:
    return train_small_cnn(digits, steps=100)


def test_a_score_bears_the_name_of_its_extractor() -> None:
    assert column("fid", "resnet20") == "fid_resnet20"
    assert column("fid", "inception") == "fid_inception"
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    extractor = ResNet20()
    assert set(score(extractor, reference(extractor, pixels), pixels)) == {
        "is_resnet20",
        "fid_resnet20",
        "kid_resnet20",
    }


def test_the_reference_of_streamed_batches_is_that_of_all_features(
    extractor: SmallCNN, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KERNEL_IMAGES", 300)
    streamed = reference(extractor, digits.test.pixels)
    vectors = torch.cat([features.vectors for features in extract(extractor, digits.test.pixels)])
    assert streamed.moments.count == 1000
    torch.testing.assert_close(streamed.moments.covariance, torch.cov(vectors.double().mT), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(streamed.vectors, vectors[:300])


def test_scores_are_the_distances_of_all_features_at_once(extractor: SmallCNN, digits: DataSet) -> None:
    real = reference(extractor, digits.train.pixels[:1000])
    found = score(extractor, real, digits.test.pixels)
    vectors = torch.cat([features.vectors for features in extract(extractor, digits.test.pixels)])
    assert found["fid_cnn_mnist_subset"] == pytest.approx(frechet_distance(Moments.of(vectors), real.moments), rel=1e-9)
    assert found["kid_cnn_mnist_subset"] == pytest.approx(kernel_distance(vectors, real.vectors), rel=1e-9)


def test_real_is_near_real_and_noise_is_far(extractor: SmallCNN, digits: DataSet) -> None:
    real = reference(extractor, digits.train.pixels)
    itself = score(extractor, real, digits.train.pixels)
    test = score(extractor, real, digits.test.pixels)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (1000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    noisy = score(extractor, real, noise)
    fid, kid, inception = "fid_cnn_mnist_subset", "kid_cnn_mnist_subset", "is_cnn_mnist_subset"
    assert itself[fid] <= 1e-9
    assert test[fid] < 0.05 * noisy[fid]
    assert abs(test[kid]) < 0.05 * noisy[kid]
    assert test[inception] > 5
    assert noisy[inception] < 2


def test_two_halves_of_the_test_set_are_near_each_other(extractor: SmallCNN, digits: DataSet) -> None:
    mixed = digits.test.pixels[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    halves = score(extractor, reference(extractor, mixed[:500]), mixed[500:])
    one_digit = score(extractor, reference(extractor, mixed[:500]), digits.test.pixels[digits.test.labels == 3])
    assert halves["fid_cnn_mnist_subset"] < 0.1 * one_digit["fid_cnn_mnist_subset"]


def test_draws_give_mean_and_sample_deviation(extractor: SmallCNN, digits: DataSet) -> None:
    real = reference(extractor, digits.train.pixels[:500])
    draws = digits.test.pixels.split(250)
    single = [score(extractor, real, draw) for draw in draws]
    found = score_draws(extractor, real, draws)
    for name in single[0]:
        values = torch.tensor([one[name] for one in single], dtype=torch.float64)
        assert found[name] == pytest.approx(values.mean().item(), rel=1e-12)
        assert found[f"{name}_std"] == pytest.approx(values.std().item(), rel=1e-9)


def test_one_draw_has_no_deviation(extractor: SmallCNN, digits: DataSet) -> None:
    real = reference(extractor, digits.train.pixels[:500])
    assert not any(name.endswith("_std") for name in score_draws(extractor, real, [digits.test.pixels]))


def test_no_draws_are_refused(extractor: SmallCNN, digits: DataSet) -> None:
    with pytest.raises(ValueError, match="no draws of images to score"):
        score_draws(extractor, reference(extractor, digits.test.pixels[:10]), [])


def test_a_generator_of_one_image_scores_one_and_is_far(extractor: SmallCNN, digits: DataSet) -> None:
    real = reference(extractor, digits.train.pixels)
    collapsed = score(extractor, real, digits.test.pixels[:1].expand(200, -1, -1, -1))
    assert collapsed["is_cnn_mnist_subset"] == pytest.approx(1.0, abs=1e-9)
    assert collapsed["fid_cnn_mnist_subset"] > 10 * score(extractor, real, digits.test.pixels)["fid_cnn_mnist_subset"]
    assert math.isfinite(collapsed["kid_cnn_mnist_subset"])
