"""Spectral norm regularisation as a loss term."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.models import build
from dynamics.norms import SpectralRegularisation


def test_value_and_gradient_are_those_of_the_singular_values(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2), nn.Linear(4, 5)).double()
    penalty = SpectralRegularisation(model, strength=0.3)
    for _ in range(500):
        loss = penalty()
    loss.backward()
    expected = torch.zeros((), dtype=torch.float64)
    for layer, matrix in (
        (model[0], model[0].weight.flatten(1)),
        (model[2], model[2].weight.movedim(1, 0).flatten(1)),
        (model[3], model[3].weight),
    ):
        sigma = torch.linalg.matrix_norm(matrix, 2)
        expected = expected + 0.15 * sigma**2
        (slope,) = torch.autograd.grad(0.15 * sigma**2, layer.weight)
        torch.testing.assert_close(layer.weight.grad, slope, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def test_a_step_along_it_shrinks_the_largest_singular_value_alone() -> None:
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    penalty = SpectralRegularisation(layer, strength=0.1)
    for _ in range(50):
        loss = penalty()
    loss.backward()
    with torch.no_grad():
        found = layer.weight - layer.weight.grad
    torch.testing.assert_close(found, torch.diag(torch.tensor([2.7, 2.0, 1.0])), atol=1e-6, rtol=1e-6)


def test_the_models_parameters_are_not_listed_twice() -> None:
    assert not list(SpectralRegularisation(nn.Linear(2, 2), strength=1).parameters())


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has no linear or convolution layer to regularise"):
        SpectralRegularisation(nn.ReLU(), strength=1)


def test_a_reparametrised_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"features.block1.conv: its weight is reparametrised already"):
        SpectralRegularisation(build("cnn3", "sn"), strength=1)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="strength: expected 0 or more, got -1"):
        SpectralRegularisation(nn.Linear(2, 2), strength=-1)
