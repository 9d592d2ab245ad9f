"""What holds for every extractor, and the words that choose one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynamics.data.sources import load_data
from dynamics.gan.scoring.extractors import choose_extractor
from dynamics.gan.scoring.extractors.extractor import Extractor, extract
from dynamics.gan.scoring.extractors.resnet20 import ResNet20
from dynamics.gan.scoring.extractors.small_cnn import SmallCNN


def extractors() -> list[Extractor]:
    torch.manual_seed(0)
    return [ResNet20(), SmallCNN("cnn_mnist", in_channels=1, num_classes=10)]


@pytest.mark.parametrize("extractor", extractors(), ids=lambda extractor: extractor.name)
def test_features_come_in_batches_of_any_size_without_gradient_and_leave_the_mode(extractor: Extractor) -> None:
    images = torch.randint(0, 256, (7, 1, 32, 32), dtype=torch.uint8)
    extractor.train()
    found = list(extract(extractor, images, batch_size=3))
    assert extractor.training
    assert [len(features.vectors) for features in found] == [3, 3, 1]
    assert not found[0].vectors.requires_grad
    whole = next(extract(extractor, images))
    torch.testing.assert_close(torch.cat([features.vectors for features in found]), whole.vectors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([features.logits for features in found]), whole.logits, rtol=1e-4, atol=1e-5)


def test_a_frozen_part_of_an_extractor_stays_frozen() -> None:
    extractor = SmallCNN("cnn_mnist", in_channels=1, num_classes=10).train()
    frozen = next(extractor.children()).eval()
    modes = [module.training for module in extractor.modules()]
    features = extract(extractor, torch.zeros(4, 1, 32, 32, dtype=torch.uint8), batch_size=2)
    next(features)
    assert not frozen.training
    list(features)
    assert [module.training for module in extractor.modules()] == modes


def test_the_fingerprint_tells_weights_apart() -> None:
    one, other = ResNet20(), ResNet20()
    other.load_state_dict(one.state_dict())
    assert one.fingerprint() == other.fingerprint()
    with torch.no_grad():
        other.linear.bias[0] += 1e-6
    assert one.fingerprint() != other.fingerprint()


def test_images_that_are_not_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of torch.float32: expected uint8"):
        next(extract(ResNet20(), torch.rand(2, 3, 32, 32)))


def test_no_extractor_can_be_asked_for(tmp_path: Path) -> None:
    assert choose_extractor("none", load_data("mnist-subset"), folder=tmp_path) is None


@pytest.mark.parametrize("word", ["resnet", "resnet20", "inception:", "vgg:file"])
def test_an_unknown_word_lists_those_there_are(word: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"extractor '{word}': expected one of inception:PATH, resnet20:PATH, trained"
    ):
        choose_extractor(word, load_data("mnist-subset"), folder=tmp_path)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"extractor weights .*nowhere.pth: no such file"):
        choose_extractor(f"inception:{tmp_path / 'nowhere.pth'}", load_data("mnist-subset"), folder=tmp_path)


@pytest.mark.parametrize("content", [b"these are not weights", b"", b"\x80\x02}q\x00", b"PK\x03\x04"])
def test_a_file_that_is_not_torchs_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"extractor weights .*text.pth cannot be read"):
        choose_extractor(f"resnet20:{tmp_path / 'text.pth'}", load_data("mnist-subset"), folder=tmp_path)


def test_a_file_that_holds_no_state_dict_is_named(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"extractor weights .*list.pth: expected a state dict, got list"):
        choose_extractor(f"resnet20:{tmp_path / 'list.pth'}", load_data("mnist-subset"), folder=tmp_path)
