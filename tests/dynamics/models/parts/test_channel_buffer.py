"""Channels in one piece of memory: the numbers and gradients of torch.cat."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dynamics.models.parts.channel_buffer import ChannelBuffer


def pieces(seed: int, memory_format: torch.memory_format) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, channels, 4, 3, generator=generator, dtype=torch.float64) for channels in (3, 2, 1)]
    return [x.contiguous(memory_format=memory_format).requires_grad_() for x in made]


def dense(read: Callable[[list[Tensor]], list[Tensor]], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return a number that reads every prefix of the concatenation, and its gradients."""
    total = sum((value.sigmoid() * (i + 1)).square().sum() for i, value in enumerate(read(inputs)))
    assert isinstance(total, Tensor)
    return (total.detach(), *torch.autograd.grad(total, inputs))


def by_cat(inputs: list[Tensor]) -> list[Tensor]:
    return [torch.cat(inputs[:end], 1) for end in (1, 2, 3)]


def in_one_memory(inputs: list[Tensor]) -> list[Tensor]:
    features = ChannelBuffer(inputs[0] * 1, channels=6)
    values = [features.copy()]
    for new in inputs[1:]:
        features.append(new * 1)
        values.append(features.copy())
    return values


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_cat(memory_format: torch.memory_format, seed: int) -> None:
    inputs = pieces(seed, memory_format)
    for found, expected in zip(dense(in_one_memory, inputs), dense(by_cat, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert all(value.is_contiguous(memory_format=memory_format) for value in in_one_memory(inputs))


def test_second_derivatives_pass(seed: int) -> None:
    x, y, _ = pieces(seed, torch.contiguous_format)

    def function(x: Tensor, y: Tensor) -> Tensor:
        features = ChannelBuffer(x * x, channels=5)
        features.append(y * y)
        return features.copy() ** 2

    assert torch.autograd.gradgradcheck(function, (x, y))


def test_a_view_that_a_backward_needs_is_refused_once_something_is_appended(seed: int) -> None:
    x, y, _ = pieces(seed, torch.channels_last)
    features = ChannelBuffer(x * 1, channels=5)
    h = nn.functional.conv2d(features.value, torch.ones(1, 3, 1, 1, dtype=x.dtype, requires_grad=True))
    features.append(y * 1)
    with pytest.raises(RuntimeError, match="has been modified inplace"):
        (h.sum() + features.value.sum()).backward()


def test_a_copy_is_its_own(seed: int) -> None:
    features = ChannelBuffer(pieces(seed, torch.channels_last)[0].detach(), channels=5)
    before = features.copy()
    features.copy().zero_()
    assert torch.equal(features.copy(), before)


def test_a_traced_graph_shows_a_plain_cat() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            features = ChannelBuffer(x, channels=2)
            features.append(x)
            return features.copy()

    graph = torch.fx.symbolic_trace(Block()).graph
    assert [node.target for node in graph.nodes if node.op == "call_function"] == [torch.cat]
