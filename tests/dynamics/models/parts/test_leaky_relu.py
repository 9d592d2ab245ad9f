"""LeakyReLU with the paper's slope, in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dynamics.models.parts.leaky_relu import LeakyReLU


def result(function: object, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    output = function(x * 1)  # type: ignore[operator]
    (slope,) = torch.autograd.grad((output.sigmoid() * torch.arange(output.numel()).view_as(output)).sum(), x)
    return output.detach(), slope


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_numbers_are_torchs_bit_for_bit(memory_format: torch.memory_format, seed: int) -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).contiguous(memory_format=memory_format)
    x[0, 0, 0, 0] = 0
    for found, expected in zip(result(LeakyReLU(), x), result(lambda h: F.leaky_relu(h, 0.1), x), strict=True):
        assert torch.equal(found, expected)


def test_second_derivative_is_that_of_the_function(seed: int) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: LeakyReLU()(h * h * h), x)
    assert torch.autograd.gradgradcheck(lambda h: LeakyReLU()(h * h * h), x)


def test_it_overwrites_its_input() -> None:
    for x in (torch.randn(2, 3), torch.randn(2, 3).requires_grad_() * 1):
        assert LeakyReLU()(x).data_ptr() == x.data_ptr()


def test_it_compiles_without_a_break(seed: int) -> None:
    x = torch.randn(4, generator=torch.Generator().manual_seed(seed))
    module = LeakyReLU()
    compiled = torch.compile(lambda h: module(h * 2), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), F.leaky_relu(2 * x, 0.1))
