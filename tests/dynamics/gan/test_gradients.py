"""One step's gradients: right under two forwards, and each network's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.gan.gradients import critic_gradients, generator_gradients
from dynamics.gan.losses import LOSSES, loss_named
from dynamics.gan.train_state import Pair
from dynamics.norms import NORMS, spectral_norm


def small_critic(norm: str) -> nn.Sequential:
    kind = NORMS[norm]
    layers: list[nn.Module] = [kind.weight(nn.Conv2d(1, 4, 3, padding=1))]
    if kind.module is not None:
        layers.append(kind.module(4, 2))
    return nn.Sequential(*layers, nn.LeakyReLU(0.1), nn.Flatten(), kind.weight(nn.Linear(64, 1)))


def small_generator() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))


@pytest.fixture(autouse=True)
def _seeded(seed: int) -> None:
    torch.manual_seed(seed)


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normalised(weight: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """W / sigma(W) with u and v held: Eq. 8 by plain autograd."""
    return weight / (u @ weight.flatten(1) @ v)


def test_spectral_norm_under_two_forwards_gives_each_forward_its_own_u_and_v() -> None:
    """The critic sees real, then generated images, and u and v move in between: the gradient is the sum of both."""
    layer = spectral_norm(nn.Linear(16, 5)).double()
    last = torch.randn(5, 1, dtype=torch.float64)
    critic = nn.Sequential(nn.Flatten(), layer)
    loss = loss_named("softplus")
    real, fake = (torch.randn(6, 1, 4, 4, dtype=torch.float64) for _ in range(2))

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = critic
            self.states: list[tuple[torch.Tensor, torch.Tensor]] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x) @ last
            power = layer.parametrizations.weight[0]
            self.states.append((power._u.clone(), power._v.clone()))
            return y

    whole = Critic()
    critic_gradients(whole, real, fake, loss=loss, generator=stream())
    (u_real, v_real), (u_fake, v_fake) = whole.states
    assert not torch.equal(u_real, u_fake), "the test needs u to move between the forwards"

    weight = layer.parametrizations.weight.original.detach().clone().requires_grad_()
    bias = layer.bias.detach()
    on_real = (real.flatten(1) @ normalised(weight, u_real, v_real).mT + bias) @ last
    on_fake = (fake.flatten(1) @ normalised(weight, u_fake, v_fake).mT + bias) @ last
    loss.critic(on_real, on_fake).backward()
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, weight.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_critic_learns_to_tell_real_from_fake(norm: str, loss: str) -> None:
    critic = small_critic(norm)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
    pattern = torch.sign(torch.randn(1, 4, 4))
    seen = {}
    for _ in range(60):
        real = pattern + 0.1 * torch.randn(16, 1, 4, 4)
        fake = 0.1 * torch.randn(16, 1, 4, 4)
        seen = critic_gradients(critic, real, fake, loss=loss_named(loss), generator=stream())
        optimizer.step()
    assert seen["critic_real"] > seen["critic_fake"] + 0.1


def test_the_critics_step_leaves_the_generator_alone() -> None:
    generator, critic = small_generator(), small_critic("sn")
    fake = generator(torch.randn(5, 3))
    critic_gradients(critic, torch.randn(5, 1, 4, 4), fake, loss=loss_named("wasserstein"), generator=stream())
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for name, parameter in critic.named_parameters())


def test_the_generators_step_leaves_the_critic_alone() -> None:
    generator, critic = small_generator(), small_critic("sn")
    generator_gradients(Pair(critic, generator), torch.randn(5, 3), loss=loss_named("softplus"))
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(parameter.requires_grad for parameter in critic.parameters())
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_the_generators_gradient_is_that_through_an_unfrozen_critic() -> None:
    generator, critic = small_generator(), small_critic("none")
    z = torch.randn(5, 3)
    generator_gradients(Pair(critic, generator), z, loss=loss_named("softplus"))
    found = [parameter.grad.clone() for parameter in generator.parameters()]
    generator.zero_grad()
    loss_named("softplus").generator(critic(generator(z))).backward()
    for gradient, parameter in zip(found, generator.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_the_seen_penalty_is_unweighted_and_stands_in_the_loss_times_ten() -> None:
    critic = small_critic("none")
    real, fake = torch.randn(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    seen = critic_gradients(critic, real, fake, loss=loss_named("wasserstein"), generator=stream())
    expected = seen["critic_fake"] - seen["critic_real"] + 10 * seen["gradient_penalty"]
    torch.testing.assert_close(seen["critic_loss"], expected)


def test_a_collapsed_generator_has_no_deviation() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = nn.Parameter(torch.randn(1, 1, 4, 4))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.image.expand(len(z), -1, -1, -1)

    critic = small_critic("none")
    collapsed = generator_gradients(Pair(critic, Constant()), torch.randn(5, 3), loss=loss_named("softplus"))
    alive = generator_gradients(Pair(critic, small_generator()), torch.randn(5, 3), loss=loss_named("softplus"))
    assert collapsed["fake_deviation"] == 0
    assert alive["fake_deviation"] > 0.01


def test_one_image_has_no_deviation_to_speak_of() -> None:
    pair = Pair(small_critic("none"), small_generator())
    seen = generator_gradients(pair, torch.randn(1, 3), loss=loss_named("softplus"))  # a warning would be an error
    assert seen["fake_deviation"].isnan()
