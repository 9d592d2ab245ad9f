"""Inception-v3 against torchvision's, where the two are meant to agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dynamics.gan.scoring.extractors.inception_v3 import InceptionV3, Mixed, load_inception


@pytest.fixture(scope="module")
def ours() -> InceptionV3:
    torch.manual_seed(0)
    model = InceptionV3().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # a fresh network has variance 1 and shows nothing of eps and mean
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def test_the_network_is_torchvisions_but_for_pooling_and_the_logits_bias(ours: InceptionV3) -> None:
    from torchvision.models import inception_v3

    theirs = inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=1008).eval()
    theirs.load_state_dict(ours.state_dict())
    pools = {name: module.pool for name, module in ours.named_modules() if isinstance(module, Mixed)}
    images = torch.rand(2, 3, 299, 299)
    with torch.no_grad():
        as_published = ours(images)
        for name, pool in pools.items():  # torchvision counts the padding and never pools by maximum here
            if isinstance(pool, nn.AvgPool2d) or name == "Mixed_7c":
                ours.get_submodule(name).pool = nn.AvgPool2d(3, stride=1, padding=1)
        features = ours(images)
        logits = theirs(2 * images - 1)
        for name, pool in pools.items():
            ours.get_submodule(name).pool = pool
    torch.testing.assert_close(features.logits + ours.fc.bias, logits, rtol=1e-4, atol=1e-4)
    assert features.vectors.shape == (2, 2048)
    assert not torch.allclose(as_published.vectors, features.vectors, rtol=1e-2), "the pooling should matter"


def test_small_grey_images_are_enlarged_and_taken_as_rgb(ours: InceptionV3) -> None:
    grey = torch.rand(1, 1, 32, 32)
    large = nn.functional.interpolate(grey, size=(299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(ours(grey).vectors, ours(large.expand(-1, 3, -1, -1)).vectors)


def test_weights_come_from_a_file_of_pytorch_fids_layout(ours: InceptionV3, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    old = {key: value for key, value in ours.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, path)
    assert load_inception(path).fingerprint() == ours.fingerprint()


def test_the_layout_names_what_the_weight_file_names(ours: InceptionV3) -> None:
    names = set(ours.state_dict())
    assert len([name for name in names if name.endswith("conv.weight")]) == 94
    for name in ("Conv2d_1a_3x3.bn.running_var", "Mixed_6c.branch7x7dbl_5.conv.weight", "fc.weight"):
        assert name in names
    assert ours.state_dict()["fc.weight"].shape == (1008, 2048)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), path := tmp_path / "linear.pth")
    with pytest.raises(
        ValueError, match=r"not the weights of InceptionV3: .* missing or of another shape .* 2 unknown"
    ):
        load_inception(path)
