"""The classifier trained here: repeatable, kept, and as good as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynamics.data.images import DataSet
from dynamics.data.sources import load_data
from dynamics.gan.scoring.extractors import choose_extractor, extract
from dynamics.gan.scoring.extractors import small_cnn as module
from dynamics.gan.scoring.extractors.small_cnn import load_small_cnn, train_small_cnn


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_data("mnist-subset")


@pytest.fixture(scope="module")
def few(digits: DataSet) -> DataSet:
    """Return every fiftieth training image, which one step goes through, and all test images."""
    return replace(
        digits, train=replace(digits.train, pixels=digits.train.pixels[::50], labels=digits.train.labels[::50])
    )


def test_one_pass_tells_digits_apart_as_well_as_the_classifier_says(digits: DataSet) -> None:
    trained = train_small_cnn(digits, steps=1)
    logits = torch.cat([features.logits for features in extract(trained, digits.test.pixels)])
    accuracy = (logits.argmax(dim=1) == digits.test.labels).double().mean().item()
    assert accuracy > 0.85
    assert trained.accuracy.item() == pytest.approx(accuracy, abs=1e-6)


def test_training_is_repeatable_and_leaves_the_global_generator_alone(few: DataSet) -> None:
    before = torch.get_rng_state()
    first, second = (train_small_cnn(few, steps=2, batch_size=16) for _ in range(2))
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != train_small_cnn(few, steps=2, batch_size=16, seed=1).fingerprint()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_trained_classifier_is_kept_and_found_again(
    few: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dynamics.gan.scoring.extractors as registry

    monkeypatch.setattr(registry, "train_small_cnn", lambda data: train_small_cnn(data, steps=1))
    first = choose_extractor("trained", few, folder=tmp_path)
    monkeypatch.setattr(registry, "train_small_cnn", lambda _: pytest.fail("trained twice"))
    second = choose_extractor("trained", few, folder=tmp_path)
    assert first is not None
    assert second is not None
    assert first.fingerprint() == second.fingerprint()
    assert second.name == "cnn_mnist_subset"
    assert [path.name for path in tmp_path.iterdir()] == ["mnist-subset.pt"]


def test_another_data_sets_classifier_is_refused(digits: DataSet, tmp_path: Path) -> None:
    torch.save(module.SmallCNN("x", in_channels=3, num_classes=10).state_dict(), path := tmp_path / "rgb.pt")
    with pytest.raises(ValueError, match=r"rgb.pt: not the weights of SmallCNN: 1 of \d+ tensors missing"):
        load_small_cnn(path, digits)
