"""How steep a critic can be: what spectral normalisation bounds, and what it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dynamics.gan.gradient_penalty import gradient_norms
from dynamics.gan.scoring.critic_steepness import gradient_bounds, gradient_extremes
from dynamics.models.gan import Critic
from dynamics.norms import NORMS


@pytest.fixture(autouse=True)
def _seeded(seed: int) -> None:
    torch.manual_seed(seed)


def converge(critic: nn.Module, images: torch.Tensor) -> nn.Module:
    """Let power iteration find every sigma; then hold u and v."""
    critic.train()
    with torch.no_grad():
        for _ in range(300):
            critic(images)
    return critic.eval()


def conv_critic(norm: str, *, size: int = 8) -> nn.Sequential:
    kind = NORMS[norm]

    def conv(*args: int, **settings: int) -> list[nn.Module]:
        centring = [] if kind.module is None else [kind.module(args[1], 2)]
        return [kind.weight(nn.Conv2d(*args, **settings)), *centring, nn.LeakyReLU(0.1)]

    return nn.Sequential(
        *conv(2, 6, 3, padding=1),
        *conv(6, 6, 4, stride=2, padding=1),
        nn.Flatten(),
        kind.weight(nn.Linear(6 * (size // 2) ** 2, 1)),
    )


def operator_norm(layer: nn.Module, example: torch.Tensor) -> float:
    """Largest singular value of the dense matrix of a linear layer, its bias left out."""
    jacobian = torch.autograd.functional.jacobian(layer, example)
    return torch.linalg.matrix_norm(jacobian.reshape(-1, example.numel()), 2).item()


def product_of_operator_norms(critic: nn.Sequential, image: torch.Tensor) -> float:
    product = 1.0
    for layer in critic:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            product *= operator_norm(layer, image)
        image = layer(image)
    return product


def test_a_dense_critic_under_sn_is_1_lipschitz_at_every_point() -> None:
    """Without convolutions the unfolded matrix is the layer: the gradient norm is at most 1, and comes near it."""
    sn = NORMS["sn"].weight
    layers = [sn(nn.Linear(32, 64)), nn.LeakyReLU(0.1), sn(nn.Linear(64, 64)), nn.LeakyReLU(0.1), sn(nn.Linear(64, 1))]
    critic = nn.Sequential(nn.Flatten(), *layers).double()
    real, fake = torch.randn(128, 2, 4, 4, dtype=torch.float64), torch.rand(128, 2, 4, 4, dtype=torch.float64)
    converge(critic, real)
    for value in gradient_extremes(critic, real, fake, seed=0).values():
        assert 0 < value <= 1 + 1e-9


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_a_convolutional_critic_stays_below_the_product_of_its_operator_norms(norm: str) -> None:
    critic = conv_critic(norm).double()
    real, fake = torch.randn(64, 2, 8, 8, dtype=torch.float64), torch.rand(64, 2, 8, 8, dtype=torch.float64)
    converge(critic, real)
    bound = product_of_operator_norms(critic, real[:1])
    assert bound > 1.5, "the unfolded norms are 1, the operators' are not"
    for value in gradient_extremes(critic, real, fake, seed=0).values():
        assert 0 < value <= bound * (1 + 1e-9)


def test_the_unfolded_norm_alone_does_not_make_a_convolution_1_lipschitz() -> None:
    """A 3x3 kernel of ones has unfolded norm 3; divided by it, it still adds nine pixels: nearly 3 on a large image."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    sum_of_all = nn.Linear(24 * 24, 1, bias=False).double()
    with torch.no_grad():
        sum_of_all.weight.fill_(1.0)
    critic = nn.Sequential(NORMS["sn"].weight(layer), nn.Flatten(), NORMS["sn"].weight(sum_of_all))
    images = torch.rand(4, 1, 24, 24, dtype=torch.float64)
    converge(critic, images)
    steepest = gradient_norms(critic, images).max().item()
    assert steepest > 2.8
    assert steepest <= product_of_operator_norms(critic, images[:1]) * (1 + 1e-9)
    assert product_of_operator_norms(critic, images[:1]) <= 3.0


def test_recentring_leaves_the_lipschitz_constant_of_evaluation_alone() -> None:
    """At evaluation MSN's centring is a shift: the critic's gradient is that of the same weights without it."""
    critic = conv_critic("msn").double()
    images = torch.randn(16, 2, 8, 8, dtype=torch.float64)
    converge(critic, images)
    layers = [layer for layer in critic if type(layer).__name__ != "MeanCentring"]
    shifted = gradient_norms(critic, images).max().item()
    plain = gradient_norms(nn.Sequential(*layers), images).max().item()
    bound = product_of_operator_norms(critic, images[:1])
    assert max(shifted, plain) <= bound
    assert bound == pytest.approx(product_of_operator_norms(nn.Sequential(*layers), images[:1]), rel=1e-12)


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_no_gradient_of_the_papers_critic_is_above_its_lipschitz_bound(norm: str) -> None:
    critic = Critic(NORMS[norm], in_channels=1, width=4)
    converge(critic, torch.randn(16, 1, 32, 32))
    bounds = gradient_bounds(critic, torch.zeros(1, 1, 32, 32))
    found = gradient_extremes(critic, torch.randn(32, 1, 32, 32), torch.rand(32, 1, 32, 32), seed=0)
    assert 0 < max(found.values()) <= bounds["critic_lipschitz_bound"]


def test_the_papers_critic_under_sn_has_unfolded_product_one_and_a_bound_far_above() -> None:
    critic = converge(Critic(NORMS["sn"], in_channels=1, width=4), torch.randn(4, 1, 32, 32))
    bounds = gradient_bounds(critic, torch.zeros(1, 1, 32, 32))
    assert bounds["critic_unfolded_product"] == pytest.approx(1.0, abs=1e-3)
    assert bounds["critic_lipschitz_bound"] > 5


def test_the_bound_of_a_small_critic_is_the_product_of_its_dense_operators() -> None:
    critic = converge(conv_critic("sn"), torch.randn(8, 2, 8, 8))
    bounds = gradient_bounds(critic, torch.zeros(1, 2, 8, 8))
    expected = product_of_operator_norms(critic, torch.randn(1, 2, 8, 8))
    assert bounds["critic_lipschitz_bound"] == pytest.approx(expected, rel=1e-4)


def test_a_norm_without_a_known_bound_is_not_measured() -> None:
    assert gradient_bounds(Critic(NORMS["ln"], in_channels=1, width=2), torch.zeros(1, 1, 32, 32)) == {}


def test_measuring_leaves_mode_gradients_and_buffers_alone() -> None:
    critic = conv_critic("msn").train()
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    gradient_extremes(critic, torch.randn(8, 2, 8, 8), torch.randn(8, 2, 8, 8), seed=0)
    gradient_bounds(critic, torch.zeros(1, 2, 8, 8))
    assert all(module.training for module in critic.modules())
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_a_diverged_critic_has_nan_extremes() -> None:
    critic = conv_critic("none")
    with torch.no_grad():
        critic[-1].weight.fill_(float("nan"))
    found = gradient_extremes(critic, torch.randn(4, 2, 8, 8), torch.randn(4, 2, 8, 8), seed=0)
    assert set(found) == {"critic_gradient_real", "critic_gradient_fake", "critic_gradient_between"}
    assert all(math.isnan(value) for value in found.values())
    assert all(math.isnan(value) for value in gradient_bounds(critic, torch.zeros(1, 2, 8, 8)).values())
