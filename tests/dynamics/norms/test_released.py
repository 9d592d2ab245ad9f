"""The released scripts' definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.norms.released import ReleasedMeanCentring, released_spectral_norm


@pytest.mark.parametrize("mode", [True, False])
def test_a_forward_projects_the_stored_weight(mode: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = released_spectral_norm(nn.Conv2d(2, 4, 3).double()).train(mode)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 2, 4, 4, dtype=torch.float64))
    sigma = torch.linalg.matrix_norm(before.flatten(1), 2)
    torch.testing.assert_close(layer.weight.detach(), before / sigma, rtol=1e-6, atol=1e-9)


def test_no_gradient_flows_through_sigma(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = released_spectral_norm(nn.Linear(3, 2, bias=False).double()), torch.ones(1, 3, dtype=torch.float64)
    layer(x).sum().backward()
    assert torch.equal(layer.weight.grad, torch.ones(2, 3, dtype=torch.float64))


def test_renorm_is_counted_and_never_trained() -> None:
    layer = released_spectral_norm(nn.Linear(3, 2))
    assert sum(p.numel() for p in layer.parameters()) == 3 * 2 + 2 + 1
    layer(torch.ones(1, 3)).sum().backward()
    assert layer.renorm.grad is None


def test_two_forwards_before_one_backward() -> None:
    layer = released_spectral_norm(nn.Linear(3, 2))
    (layer(torch.ones(1, 3)).square().sum() - layer(torch.ones(2, 3)).square().sum()).backward()
    assert layer.weight.grad.isfinite().all()


def test_an_all_zero_weight_stays_finite() -> None:
    layer = released_spectral_norm(nn.Linear(3, 2))
    nn.init.zeros_(layer.weight)
    assert layer(torch.ones(1, 3)).isfinite().all()


def test_centring_keeps_batch_norms_scale_and_shift(seed: int) -> None:
    torch.manual_seed(seed)
    module, h = ReleasedMeanCentring(3).double(), torch.randn(4, 3, 5, 5, dtype=torch.float64)
    nn.init.uniform_(module.weight, 0.5, 2)
    nn.init.uniform_(module.bias, -1, 1)
    weight, bias = module.weight[:, None, None], module.bias[:, None, None]
    mean = h.mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(module(h), (h - mean) * weight + bias)
    torch.testing.assert_close(module.eval()(h), (h - 0.1 * mean) * weight + bias)


def test_a_layer_without_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot normalise the weight of ReLU"):
        released_spectral_norm(nn.ReLU())
