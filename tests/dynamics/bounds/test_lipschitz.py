"""Operator norms of layers and the Lipschitz bound of networks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from dynamics.bounds.lipschitz import lipschitz_bound, operator_norm, operator_norms, unfolded_norms
from dynamics.models import build
from dynamics.norms import convert
from dynamics.norms.linear_map import LinearMap

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 4), (5,)),
    "1d": (nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 7)),
    "3d": (nn.Conv3d(1, 2, 2, padding=1), (1, 3, 2, 3)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 3)),
    "transposed grouped": (nn.ConvTranspose2d(4, 2, 3, groups=2), (4, 3, 3)),
}
for stride, padding, dilation, groups in itertools.product((1, 2), (0, 1, 2), (1, 2), (1, 2)):
    LAYERS[f"stride {stride} padding {padding} dilation {dilation} groups {groups}"] = (
        nn.Conv2d(2, 4, 3, stride=stride, padding=padding, dilation=dilation, groups=groups),
        (2, 6, 5),
    )


def dense(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    size = math.prod(shape)
    inputs = torch.eye(size, dtype=torch.float64).view(size, *shape)
    with torch.no_grad():
        return (layer(inputs) - layer(torch.zeros_like(inputs))).flatten(1).mT


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_operator_norm_is_that_of_the_dense_matrix(layer: nn.Module, shape: tuple[int, ...]) -> None:
    expected = float(torch.linalg.matrix_norm(dense(layer.double(), shape), 2))
    assert operator_norm(layer, shape, iterations=60) == pytest.approx(expected, rel=1e-6)


def test_operator_norm_is_what_long_power_iteration_finds(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    linear, x = LinearMap(layer, (3, 9, 9)), torch.randn(3, 9, 9, dtype=torch.float64)
    for _ in range(3000):
        y = linear(x, layer.weight.detach())
        x = linear.transpose(y, layer.weight.detach())
        x = x / x.norm()
    length = float(linear(x, layer.weight.detach()).norm())
    assert operator_norm(layer, (3, 9, 9), iterations=80) == pytest.approx(length, rel=1e-6)


def local_stretch(model: nn.Module, x: Tensor) -> float:
    J = torch.autograd.functional.jacobian(model, x).reshape(-1, x.numel())
    return float(torch.linalg.matrix_norm(J, 2))


SMALL = {
    "cnn3": {"image_size": 6},
    "densenet_bc": {"image_size": 8, "depth": 10, "growth": 3},
    "critic": {"image_size": 8, "width": 2},
    "generator": {"image_size": 8, "width": 2, "latent": 6},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["none", "bn", "msn"])
def test_no_jacobian_stretches_more_than_the_bound(name: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build(name, norm, **SMALL[name])
    example = model.example_input()
    model(torch.randn(8, *example.shape[1:]))
    model = model.double().eval()
    bound = lipschitz_bound(model, operator_norms(model, example.double(), iterations=60))
    for _ in range(3):
        assert local_stretch(model, torch.randn_like(example, dtype=torch.float64)) <= bound * (1 + 1e-9)


def test_bound_of_linear_layers_is_the_product_of_their_norms(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    norms = unfolded_norms(model)
    expected = [float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2)) for layer in (model[0], model[2])]
    assert list(norms.values()) == pytest.approx(expected)
    assert lipschitz_bound(model, norms) == pytest.approx(math.prod(expected))


def test_batch_norm_stretches_by_its_largest_scale() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, eps=0)).eval()
    model[1].running_var.copy_(torch.tensor([4.0, 0.25]))
    model[1].weight.data.copy_(torch.tensor([-3.0, 1.0]))
    assert lipschitz_bound(model, {"0": 1.0}) == pytest.approx(2.0)


def test_sums_add_and_concatenations_add_in_squares() -> None:
    class Branches(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.a, self.b, self.how = nn.Linear(2, 2), nn.Linear(2, 2), how

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x), self.b(x)
            return {"sum": lambda: a + b, "twice": lambda: a + a, "cat": lambda: torch.cat([a, b, a], 1)}[self.how]()

    norms = {"a": 3.0, "b": 4.0}
    assert lipschitz_bound(Branches("sum"), norms) == 7
    assert lipschitz_bound(Branches("twice"), norms) == 6
    assert lipschitz_bound(Branches("cat"), norms) == pytest.approx(math.sqrt(9 + 16 + 9))


def test_recentring_leaves_a_networks_bound_alone(seed: int) -> None:
    torch.manual_seed(seed)
    spectral = build("cnn3", "sn", image_size=8)
    norms = unfolded_norms(spectral)
    recentred = build("cnn3", "msn", image_size=8)
    assert lipschitz_bound(recentred, norms) == lipschitz_bound(spectral, norms)
    assert lipschitz_bound(convert(recentred, "sn"), norms) == lipschitz_bound(spectral, norms)


def test_networks_without_layers_have_no_norms() -> None:
    assert unfolded_norms(nn.ReLU()) == {}


def test_a_layer_without_a_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="lipschitz_bound: no norm given for layer '0'"):
        lipschitz_bound(nn.Sequential(nn.Linear(2, 2)), {})


@pytest.mark.parametrize("module", [nn.Softmax(1), nn.MaxPool2d(3, stride=1)], ids=str)
def test_a_module_of_unknown_stretch_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"no bound known for '0', a {type(module).__name__}"):
        lipschitz_bound(nn.Sequential(module), {})


def test_an_operation_of_unknown_stretch_is_refused() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    with pytest.raises(ValueError, match="no bound known for the operation 'mul'"):
        lipschitz_bound(Square(), {})
