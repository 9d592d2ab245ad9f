"""A gradient is overwritten only where nobody else can see it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dynamics.models.activation import LeakyReLU
from dynamics.norms import MeanCentring, ownership
from dynamics.norms.ownership import is_ours

SHAPE = (32, 3, 32, 32)  # large enough to be worth counting
answers: list[bool] = []
held: list[Any] = []


class Asks(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(_: Any, G: Tensor) -> Tensor:
        answers.append(is_ours(G))
        return G.clone()


@pytest.fixture(autouse=True)
def _forget() -> None:
    answers.clear()
    held.clear()


def ask(use: Callable[[Tensor, Tensor], object]) -> bool:
    """Return the answer in the backward of a y that is used as told."""
    x = torch.randn(SHAPE, requires_grad=True)
    use(x, Asks.apply(x * 1))
    return answers[-1]


def leaky(y: Tensor) -> Tensor:
    return F.leaky_relu(y, 0.1).sum()


def keep(how: Callable[[Tensor], object]) -> Callable[[Tensor, Tensor], None]:
    """Use y so that a hook holds on to what ``how`` makes of its gradient."""

    def use(_: Tensor, y: Tensor) -> None:
        y.register_hook(lambda G: held.append(how(G)))
        leaky(y).backward()

    return use


def test_a_fresh_gradient_is_ours() -> None:
    assert ask(lambda _, y: leaky(y).backward())


def test_it_is_ours_in_channels_last_too() -> None:
    x = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last).requires_grad_()
    leaky(Asks.apply(x)).backward()
    assert answers == [True]


def test_it_is_ours_after_torch_compile_was_used() -> None:
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
    assert ask(lambda _, y: leaky(y).backward())
    assert not ask(keep(lambda G: G))


def test_the_sum_of_two_uses_is_ours() -> None:
    assert ask(lambda _, y: (leaky(y) + leaky(2 * y)).backward())


@pytest.mark.parametrize("how", [lambda G: G, Tensor.detach, lambda G: G[0], lambda G: G.view(-1)])
def test_a_gradient_that_a_hook_holds_is_not(how: Callable[[Tensor], object]) -> None:
    assert not ask(keep(how))


def test_a_hook_that_kept_a_copy_does_not_matter() -> None:
    assert ask(keep(Tensor.clone))


def test_a_gradient_that_two_branches_share_is_not() -> None:
    assert not ask(lambda x, y: (x + y).square().sum().backward())


def test_a_gradient_that_was_asked_for_is_not() -> None:
    assert not ask(lambda x, y: torch.autograd.grad(leaky(y), [y, x]))


def test_the_callers_own_gradient_is_not() -> None:
    assert not ask(lambda _, y: y.backward(torch.ones_like(y)))


def test_a_small_gradient_is_not_worth_counting() -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    leaky(Asks.apply(x)).backward()
    assert answers == [False]


def test_one_number_expanded_is_not() -> None:
    assert not ask(lambda _, y: y.sum().backward())


def test_a_part_of_a_larger_gradient_is_not() -> None:
    def use(x: Tensor, y: Tensor) -> None:
        F.leaky_relu(torch.cat([y, x]), 0.1).sum().backward()

    assert not ask(use)


def test_no_gradient_is_while_a_second_derivative_is_recorded() -> None:
    assert not ask(lambda x, y: torch.autograd.grad(leaky(y), x, create_graph=True))


def test_none_is_under_a_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert not ask(lambda _, y: leaky(y).backward())


def test_none_is_where_torch_cannot_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_storage_Use_Count")
    ownership._owners_of_a_lone_gradient.cache_clear()
    try:
        assert not ask(lambda _, y: leaky(y).backward())
    finally:
        ownership._owners_of_a_lone_gradient.cache_clear()


@pytest.mark.parametrize("module", [MeanCentring(3), MeanCentring(3, inplace=True), LeakyReLU()], ids=str)
@pytest.mark.parametrize("hooked", [False, True])
def test_what_a_hook_keeps_stays_as_it_was(module: torch.nn.Module, hooked: bool, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(SHAPE, requires_grad=True)
    output = copy.deepcopy(module)(x * 1)
    if hooked:
        output.register_hook(lambda G: held.append((G, G.clone())))
    (output.sigmoid() * torch.randn(output.shape)).sum().backward()
    assert len(held) == hooked
    for kept, then in held:
        assert torch.equal(kept, then)
