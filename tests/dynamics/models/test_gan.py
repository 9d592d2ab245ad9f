"""The GAN pair."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.models import build
from dynamics.norms import MeanCentring


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_critic_scores_what_the_generator_makes(size: int, channels: int) -> None:
    shape = {"in_channels": channels, "image_size": size, "width": 4}
    generator, critic = build("generator", "bn", latent=5, **shape), build("critic", "sn", **shape)
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert critic(images).shape == (2, 1)
    assert generator.example_input().shape == (1, 5)
    assert critic.example_input().shape == (1, channels, size, size)


def test_released_msn_critic_centres_three_layers() -> None:
    for norm, expected in (("msn", 3), ("bn", 7)):
        critic = build("critic", norm, in_channels=3, image_size=32, width=4, scope="released")
        blocks = [name for name, block in critic.features.named_children() if hasattr(block, "norm")]
        assert len(blocks) == expected
    critic = build("critic", "msn", in_channels=3, image_size=32, width=4, scope="released")
    assert [name for name, b in critic.features.named_children() if hasattr(b, "norm")] == [
        "block4",
        "block6",
        "block7",
    ]
    assert isinstance(critic.features.block4.norm, MeanCentring)


def test_the_loss_of_real_minus_fake_differentiates(seed: int) -> None:
    torch.manual_seed(seed)
    critic = build("critic", "msn", in_channels=3, image_size=16, width=4)
    real, fake = torch.randn(3, 3, 16, 16), torch.randn(3, 3, 16, 16)
    (nn.functional.softplus(-critic(real)) + nn.functional.softplus(critic(fake))).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())


@pytest.mark.parametrize("model", ["critic", "generator"])
@pytest.mark.parametrize("size", [4, 20])
def test_an_image_that_cannot_be_halved_three_times_is_refused(model: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"halves images three times: expected a multiple of 8, got {size}"):
        build(model, "bn", in_channels=3, image_size=size)
