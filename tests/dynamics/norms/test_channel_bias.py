"""A learned number added to each channel."""

from __future__ import annotations

import pytest
import torch

from dynamics.norms.channel_bias import ChannelBias


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 4)])
def test_each_channel_gets_its_own_number(shape: tuple[int, ...], inplace: bool) -> None:
    module, h = ChannelBias(3, inplace=inplace), torch.zeros(shape)
    module.bias.data = torch.tensor([1.0, 2.0, 3.0])
    output = module(h)
    for channel in range(3):
        assert (output[:, channel] == channel + 1).all()
    assert (output.data_ptr() == h.data_ptr()) == inplace
    output.sum().backward()
    assert torch.equal(module.bias.grad, torch.full((3,), h.numel() / 3))


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ChannelBias: expected \(N, 3, ...\), got \(2, 4\)"):
        ChannelBias(3)(torch.ones(2, 4))


def test_its_settings_show() -> None:
    assert repr(ChannelBias(3)) == "ChannelBias(3)"
