"""Norms of input Jacobians and margins' gradients against dense Jacobians in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dynamics.bounds.input_jacobian import jacobian_norms, margin_gradient_norms, margins
from dynamics.bounds.layer_stretch import layer_stretches
from dynamics.models import build


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.LeakyReLU(0.1, inplace=True), nn.Flatten(), nn.Linear(27, 4))


def dense_jacobians(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the Jacobian of each input in float64, ``(n, classes, numbers)``."""
    model = model.double().eval()
    rows = [torch.autograd.functional.jacobian(model, x[None].double()) for x in inputs]
    return torch.stack([J.reshape(-1, inputs[0].numel()) for J in rows])


def test_norms_are_the_largest_singular_values(seed: int) -> None:
    model, inputs = network(seed), torch.randn(5, 1, 7, 7)
    found = jacobian_norms(model, inputs, iterations=100)
    exact = torch.linalg.matrix_norm(dense_jacobians(model, inputs), 2)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=0)


def test_few_iterations_stay_below(seed: int) -> None:
    model, inputs = network(seed), torch.randn(5, 1, 7, 7)
    found = jacobian_norms(model, inputs, iterations=1)
    exact = torch.linalg.matrix_norm(dense_jacobians(model, inputs), 2)
    assert (found <= exact * (1 + 1e-5)).all()
    assert (found > 0).all()


@pytest.mark.parametrize("norm", ["bn", "msn", "sn_beta"])
def test_norms_of_the_papers_networks_are_those_of_evaluation(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build("densenet_bc", norm, in_channels=1, image_size=8, num_classes=4, depth=10, growth=3)
    inputs = torch.randn(3, 1, 8, 8)
    model(inputs)
    found = jacobian_norms(model, inputs, iterations=60)
    exact = torch.linalg.matrix_norm(dense_jacobians(model, inputs), 2)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)


def test_a_constant_network_stretches_nothing() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    assert jacobian_norms(layer, torch.randn(2, 3)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_very_large_and_very_small_stretches_are_measured(scale: float) -> None:
    layer = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(scale * torch.eye(3))
    assert jacobian_norms(layer, torch.randn(2, 3)).tolist() == pytest.approx([scale, scale])
    assert margin_gradient_norms(layer, torch.randn(1, 3), torch.tensor([0])).item() == pytest.approx(2**0.5 * scale)


def test_no_iteration_and_no_input_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected iterations >= 1 and an input, got iterations=0 and 1 inputs"):
        jacobian_norms(nn.Linear(3, 2), torch.randn(1, 3), iterations=0)
    with pytest.raises(ValueError, match=r"got iterations=10 and 0 inputs"):
        jacobian_norms(nn.Linear(3, 2), torch.randn(0, 3))


def test_margins_are_differences_to_the_best_other() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 1.0, 4.0]])
    assert margins(logits, torch.tensor([0, 1])).tolist() == [0.5, -3.0]


def test_gradients_of_margins_are_differences_of_jacobian_rows(seed: int) -> None:
    model, inputs = network(seed), torch.randn(5, 1, 7, 7)
    labels = torch.tensor([0, 1, 2, 3, 0])
    found = margin_gradient_norms(model, inputs, labels)
    logits = model(inputs)
    others = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
    jacobians = dense_jacobians(model, inputs)
    rows = torch.arange(5)
    exact = (jacobians[rows, labels] - jacobians[rows, others]).norm(dim=1)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)


def test_a_layers_stretch_is_that_of_its_transpose_along_the_gradient(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 6), nn.LeakyReLU(0.1, inplace=True), nn.Linear(6, 3))
    inputs, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 1])
    found = layer_stretches(model, inputs, labels)
    W, V = (layer.weight.detach().double() for layer in (model[0], model[2]))
    hidden = inputs.double() @ W.mT + model[0].bias.detach().double()
    logits = torch.where(hidden > 0, hidden, 0.1 * hidden) @ V.mT + model[2].bias.detach().double()
    last, first = [], []
    for h, f, y in zip(hidden, logits, labels.tolist(), strict=True):
        other = max((float(f[j]), j) for j in range(3) if j != y)[1]
        d = torch.zeros(3, dtype=torch.float64)
        d[y], d[other] = 1, -1
        before = V.mT @ d
        last.append(float(before.norm() / d.norm()))
        before = torch.where(h > 0, before, 0.1 * before)
        first.append(float((W.mT @ before).norm() / before.norm()))
    assert found == pytest.approx({"0": max(first), "2": max(last)}, rel=1e-5)


def test_a_layer_that_no_gradient_reaches_stretches_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    found = layer_stretches(model, torch.randn(3, 2), torch.tensor([0, 1, 0]))
    assert found["0"] == 0
    assert found["2"] > 0
