"""Weights rounded to int8."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.deploy.quantise import as_int8, float_bytes, int8_bytes, quantised
from dynamics.norms.weight_matrix import output_dimension


@pytest.mark.parametrize(
    "layer", [nn.Linear(7, 5), nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3), nn.Conv1d(2, 3, 5)]
)
def test_a_weight_moves_by_half_a_step_of_its_channel_at_most(layer: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    weight = layer.weight.detach().clone()  # type: ignore[operator, union-attr]
    weight *= torch.logspace(-3, 3, weight.numel()).view(weight.shape)[torch.randperm(len(weight))]
    layer.weight.data.copy_(weight)  # type: ignore[operator, union-attr, arg-type]
    dim = output_dimension(layer)
    rounded = quantised(nn.Sequential(layer))[0].weight.detach()  # type: ignore[index, union-attr, operator]
    for channel, after in zip(weight.unbind(dim), rounded.unbind(dim), strict=True):
        step = channel.abs().max() / 127
        assert (after - channel).abs().max() <= step / 2 * (1 + 1e-5)
        torch.testing.assert_close(after / step, (after / step).round(), rtol=0, atol=1e-3)
    assert torch.equal(layer.weight, weight)  # type: ignore[arg-type]


def test_the_largest_weight_of_a_channel_is_kept_and_zeros_stay_zeros() -> None:
    weight = torch.tensor([[-2.54, 1.0, 0.005], [0.0, 0.0, 0.0]])
    whole, scale = as_int8(weight)
    assert whole.tolist() == [[-127, 50, 0], [0, 0, 0]]
    assert whole.dtype == torch.int8
    torch.testing.assert_close(scale, torch.tensor([[0.02], [1.0]]))


def test_bytes_are_counted_by_tensor() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4, bias=False))
    norm = 4 * (8 + 8 + 8 + 8) + 8  # scale, shift, two moments, and a counter of 8 bytes
    assert float_bytes(network) == 4 * (8 * 27 + 8) + norm + 4 * 32
    assert int8_bytes(network) == (8 * 27 + 4 * 8) + 4 * 8 + norm + (32 + 4 * 4)
