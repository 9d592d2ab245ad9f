"""The gradient penalty against hand-computed critics, and its second derivative against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dynamics.gan.gradient_penalty import gradient_norms, gradient_penalty, interpolate
from dynamics.norms import NORMS


class LinearCritic(nn.Module):
    """D(x) = <w, x>: its gradient is w at every x."""

    def __init__(self, w: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.w


def images(n: int = 5, channels: int = 2, size: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size, size, generator=generator, dtype=torch.float64)


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_a_linear_critic_pays_for_the_length_of_its_weight() -> None:
    """|w| = 5 wherever it is asked: the penalty is (5 - 1)^2, its gradient 2 (5 - 1) w / 5."""
    w = torch.zeros(18, dtype=torch.float64)
    w[0], w[7] = 3.0, 4.0
    critic = LinearCritic(w)
    penalty = gradient_penalty(critic, images(), images(seed=1), generator=stream())
    assert penalty.item() == pytest.approx(16.0, rel=1e-14)
    penalty.backward()
    torch.testing.assert_close(critic.w.grad, 2 * 4 * w / 5, rtol=1e-13, atol=1e-13)


def test_a_quadratic_critic_pays_by_the_point_it_is_asked_at() -> None:
    """D(x) = a |x|^2 / 2 has gradient a x: the penalty is mean (a |x_t| - 1)^2 at the interpolated points."""
    real, fake = images(), images(seed=1)

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a * x.flatten(1).square().sum(dim=1) / 2

    critic = Quadratic()
    penalty = gradient_penalty(critic, real, fake, generator=stream())
    lengths = interpolate(real, fake, generator=stream()).flatten(1).norm(dim=1)
    assert penalty.item() == pytest.approx((0.7 * lengths - 1).square().mean().item(), rel=1e-13)
    penalty.backward()
    assert critic.a.grad.item() == pytest.approx((2 * (0.7 * lengths - 1) * lengths).mean().item(), rel=1e-13)


def test_points_lie_between_their_own_pair_each_at_its_own_place() -> None:
    real, fake = images(64), images(64, seed=1)
    points = interpolate(real, fake, generator=stream())
    t = ((points - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(t, t[:, :1].expand_as(t), rtol=1e-9, atol=1e-9)
    assert 0 <= t.min() < 0.1
    assert 0.9 < t.max() <= 1


def central_difference(f: Callable[[], float], x: torch.Tensor, direction: torch.Tensor, *, h: float) -> float:
    """Slope of f along a direction of x, which is left as it was."""
    values = []
    with torch.no_grad():
        original = x.clone()
    for sign in (1, -1):
        with torch.no_grad():
            x.copy_(original + sign * h * direction)
        values.append(f())
    with torch.no_grad():
        x.copy_(original)
    return (values[0] - values[1]) / (2 * h)


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_the_penalty_of_every_critic_has_the_gradient_of_finite_differences(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    kind = NORMS[norm]
    layers: list[nn.Module] = [kind.weight(nn.Conv2d(2, 3, 3, padding=1))]
    if kind.module is not None:
        layers.append(kind.module(3, 2))
    # Tanh, not LeakyReLU: finite differences of the penalty need a second derivative everywhere.
    critic = nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), kind.weight(nn.Linear(27, 1))).double()
    critic.train()
    real, fake = images(), images(seed=1)

    def penalty() -> torch.Tensor:
        for _ in range(200):  # sigma is the norm of the weight as it stands: power iteration must have converged
            critic(real)
        return gradient_penalty(critic, real, fake, generator=stream())

    critic.zero_grad()
    penalty().backward()
    for parameter in critic.parameters():
        if parameter.grad is not None:  # a bias behind the last nonlinearity does not turn the gradient
            direction = torch.randn_like(parameter)
            slope = central_difference(lambda: penalty().item(), parameter, direction, h=1e-5)
            assert (parameter.grad * direction).sum().item() == pytest.approx(slope, rel=2e-4, abs=1e-8)


def test_gradient_norms_are_of_each_image_by_itself() -> None:
    x = images()
    critic = nn.Sequential(nn.Flatten(), nn.Linear(18, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    expected = [torch.autograd.functional.jacobian(critic, one[None]).norm().item() for one in x]
    assert gradient_norms(critic, x).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_nan_critic_has_nan_gradients() -> None:
    critic = LinearCritic(torch.full((18,), float("nan"), dtype=torch.float64))
    assert all(math.isnan(value) for value in gradient_norms(critic, images()).tolist())
