"""The three losses against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from dynamics.gan.losses import LOSSES, loss_named

REAL, FAKE = torch.tensor([[2.0], [0.0]]), torch.tensor([[-1.0], [3.0]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_softplus_is_eq_11_with_a_sigmoid_critic_negated() -> None:
    value = loss_named("softplus").critic(REAL, FAKE).item()
    d_real, d_fake = torch.sigmoid(REAL.double()), torch.sigmoid(FAKE.double())
    eq_11 = d_real.log().mean() + (1 - d_fake).log().mean()
    assert value == pytest.approx(-eq_11.item(), rel=1e-6)


def test_the_softplus_generator_maximises_the_critics_odds() -> None:
    expected = (softplus(1.0) + softplus(-3.0)) / 2
    assert loss_named("softplus").generator(FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_wasserstein_is_the_difference_of_means() -> None:
    loss = loss_named("wasserstein")
    assert loss.critic(REAL, FAKE).item() == 1.0 - 1.0
    assert loss.critic(REAL + 5, FAKE).item() == -5.0
    assert loss.generator(FAKE).item() == -1.0


def test_wasserstein_comes_with_gulrajanis_penalty_and_critic_steps() -> None:
    assert (loss_named("wasserstein").penalty, loss_named("wasserstein").critic_steps) == (10.0, 5)


def test_hinge_stops_beyond_the_margin() -> None:
    loss = loss_named("hinge")
    assert loss.critic(REAL, FAKE).item() == pytest.approx((0 + 1) / 2 + (0 + 4) / 2)
    sure = torch.tensor([[1.5], [9.0]], requires_grad=True)
    loss.critic(sure, -sure).backward()
    assert torch.equal(sure.grad, torch.zeros(2, 1))
    assert loss.generator(FAKE).item() == -1.0


@pytest.mark.parametrize("name", LOSSES)
def test_the_critic_is_pulled_apart_and_the_generator_pulled_up(name: str) -> None:
    real, fake = torch.zeros(4, 1, requires_grad=True), torch.zeros(4, 1, requires_grad=True)
    LOSSES[name].critic(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake.grad = None
    LOSSES[name].generator(fake).backward()
    assert (fake.grad < 0).all()


def test_an_unknown_loss_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="no loss 'wgan': expected one of softplus, wasserstein, hinge"):
        loss_named("wgan")
