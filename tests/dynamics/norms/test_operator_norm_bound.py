"""The operator norm held at most beta."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dynamics.models import build
from dynamics.norms.operator_norm_bound import (
    OperatorNormBound,
    bound_operator_norm,
    bound_operator_norms,
    input_shapes,
)

SHAPE = (2, 6, 6)


def conv(scale: float, seed: int) -> nn.Conv2d:
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    with torch.no_grad():
        layer.weight.abs_().mul_(scale)  # of one sign: the largest singular value stands apart (Perron and Frobenius)
    return layer


def dense_norm(layer: nn.Module) -> Tensor:
    inputs = torch.eye(72, dtype=torch.float64).view(72, *SHAPE)
    with torch.no_grad():
        columns = layer.eval()(inputs) - layer(torch.zeros_like(inputs))
    return torch.linalg.matrix_norm(columns.flatten(1), 2)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_a_norm_above_beta_comes_down_to_beta(beta: float, seed: int) -> None:
    layer = bound_operator_norm(conv(20, seed), SHAPE, beta=beta)
    for _ in range(60):
        layer(torch.zeros(1, *SHAPE, dtype=torch.float64))
    torch.testing.assert_close(dense_norm(layer), torch.tensor(beta, dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_norm_below_beta_stays(seed: int) -> None:
    plain = conv(0.1, seed)
    layer = bound_operator_norm(copy.deepcopy(plain), SHAPE)
    assert torch.equal(layer.weight, plain.weight)


def test_first_and_second_derivative_are_those_of_the_function(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(1, 2, 2, stride=2).double()
    norm = OperatorNormBound(layer, (1, 4, 4), beta=0.1).eval()
    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(norm, weight)
    assert torch.autograd.gradgradcheck(norm, weight)


def test_evaluation_moves_nothing_and_training_does(seed: int) -> None:
    layer = bound_operator_norm(conv(20, seed), SHAPE)
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    before = copy.deepcopy(layer.state_dict())
    layer.eval()(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    layer.train()(x)
    assert not torch.equal(layer.state_dict()["parametrizations.weight.0._v"], before["parametrizations.weight.0._v"])


def test_two_forwards_before_one_backward(seed: int) -> None:
    layer = bound_operator_norm(conv(20, seed), SHAPE)
    x = torch.ones(1, *SHAPE, dtype=torch.float64)
    (layer(x).sum() - layer(2 * x).square().sum()).backward()
    assert layer.get_parameter("parametrizations.weight.original").grad.isfinite().all()


def test_a_checkpoint_and_a_copy_carry_the_vectors(seed: int) -> None:
    layer = bound_operator_norm(conv(20, seed), SHAPE)
    fresh = bound_operator_norm(conv(1, seed + 1), SHAPE)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh.eval().weight, copy.deepcopy(layer).eval().weight)


def test_the_example_is_seen_in_eval_mode_and_leaves_no_trace() -> None:
    model = build("cnn3", "bn")
    before = copy.deepcopy(model.state_dict())
    model.features.block2.eval()
    shapes = input_shapes(model, torch.ones(1, 1, 28, 28))
    assert list(shapes.values()) == [(1, 28, 28), (16, 28, 28), (32, 30, 30), (8192,)]
    assert model.training
    assert not model.features.block2.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_assigning_a_weight_stores_it(seed: int) -> None:
    layer, weight = bound_operator_norm(conv(20, seed), SHAPE), conv(1, seed + 1).weight.detach()
    layer.weight = weight
    assert torch.equal(layer.get_parameter("parametrizations.weight.original"), weight)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has no linear or convolution layer that its forward calls"):
        bound_operator_norms(nn.ReLU(), torch.ones(1, 2))


def test_a_beta_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="beta: expected a positive number, got 0"):
        bound_operator_norm(nn.Linear(2, 2), (2,), beta=0)


def test_no_power_iteration_is_refused() -> None:
    with pytest.raises(ValueError, match="n_power_iterations: expected at least 1, got 0"):
        OperatorNormBound(nn.Linear(2, 2), (2,), n_power_iterations=0)


def test_its_settings_show() -> None:
    assert "input_shape=(2,), beta=1.0" in repr(bound_operator_norm(nn.Linear(2, 2), (2,)))
