"""ResNet-20: the published file's layout, option-A shortcuts, and its accuracy where the weights are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from dynamics.gan.scoring.extractors.extractor import extract
from dynamics.gan.scoring.extractors.resnet20 import ResNet20, load_resnet20

SHARED = Path(os.environ.get("MEANDRIFT_DATA", Path(__file__).parents[6] / "shared" / "data"))
WEIGHTS = SHARED / "cifar10_resnets" / "resnet20-12fca82f.th"


def test_resnet20_has_the_published_number_of_parameters() -> None:
    """0.27 million in He et al., table 6."""
    assert round(sum(p.numel() for p in ResNet20().parameters()) / 1e6, 2) == 0.27


def test_a_shortcut_strides_and_pads_channels_with_zeros_on_both_sides() -> None:
    block = ResNet20().layer2[0].eval()
    with torch.no_grad():
        block.bn2.weight.zero_()  # the residual branch gives nothing: what is left is the shortcut
        block.bn2.bias.zero_()
        x = torch.rand(2, 16, 8, 8)
        y = block(x)
    assert y.shape == (2, 32, 4, 4)
    torch.testing.assert_close(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize("wrapped", [True, False])
def test_weights_come_plain_or_from_a_data_parallel_checkpoint(wrapped: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ResNet20().eval()
    weights = model.state_dict()
    saved = {"state_dict": {f"module.{k}": v for k, v in weights.items()}, "best": 1.0} if wrapped else weights
    torch.save(saved, path := tmp_path / "weights.th")
    loaded = load_resnet20(path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images).logits, model(images).logits)
    assert loaded.fingerprint() == model.fingerprint()


def test_inputs_are_normalised_as_imagenet_was() -> None:
    model = ResNet20().eval()
    seen: list[torch.Tensor] = []
    model.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    grey = torch.full((1, 1, 32, 32), 0.5)
    model(grey)
    expected = F.normalize((0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]), dim=0)
    torch.testing.assert_close(F.normalize(seen[0][0, :, 0, 0], dim=0), expected)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no ResNet-20 weights at {WEIGHTS.name} (MEANDRIFT_DATA)")
def test_the_published_weights_classify_cifar10() -> None:
    """8.27 % error by its authors' account; 500 test images have a standard error of 1.2 %."""
    from dynamics.data.sources import load_data

    test = load_data("cifar10", data_dir=SHARED).test
    logits = torch.cat([features.logits for features in extract(load_resnet20(WEIGHTS), test.pixels[:500])])
    accuracy = (logits.argmax(dim=1) == test.labels[:500]).double().mean().item()
    assert accuracy == pytest.approx(0.9173, abs=0.036)
