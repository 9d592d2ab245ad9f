"""Weights of smallest magnitude set to 0."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dynamics.deploy.prune import layer_weights, pruned, zero_share


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 10)).requires_grad_(False)


@pytest.mark.parametrize("share", [0, 0.5, 0.8, 0.9, 1])
def test_the_share_asked_for_is_zero_and_it_is_the_smallest(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    before = network()
    after = pruned(before, share)
    old, new = (torch.cat([weight.flatten() for weight in layer_weights(one)]) for one in (before, after))
    gone = new == 0
    assert int(gone.sum()) == round(share * len(old))
    assert zero_share(after) == pytest.approx(share, abs=0.5 / len(old))
    assert torch.equal(new[~gone], old[~gone])
    if 0 < share < 1:
        assert old[gone].abs().max() < old[~gone].abs().min()
    assert torch.equal(after[0].bias, before[0].bias)  # type: ignore[index]
    assert zero_share(before) == 0


def test_the_order_of_memory_changes_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    plain = network()
    last = network()
    last.load_state_dict(plain.state_dict())
    last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert not last[0].weight.is_contiguous()
    for one, other in zip(layer_weights(pruned(plain, 0.5)), layer_weights(pruned(last, 0.5)), strict=True):
        assert torch.equal(one, other)


def test_a_network_without_layers_has_nothing_to_prune() -> None:
    assert math.isnan(zero_share(pruned(nn.Sequential(nn.ReLU()), 0.5)))


@pytest.mark.parametrize("share", [-0.1, 1.5, 50, float("nan")])
def test_a_share_is_a_part_of_one(share: float) -> None:
    with pytest.raises(ValueError, match=r"share .*: expected 0 to 1"):
        pruned(network(), share)
