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


POOLS = [
    (nn.MaxPool1d(3, stride=1), (1, 7), 3**0.5),
    (nn.MaxPool1d(2), (1, 6), 1.0),
    (nn.MaxPool2d(3, stride=2, padding=1), (1, 6, 6), 2.0),
    (nn.MaxPool2d((3, 1), stride=1), (1, 5, 5), 3**0.5),
    (nn.MaxPool1d(3, stride=2, dilation=2), (1, 9), 3**0.5),
    (nn.AvgPool2d(3, stride=1, padding=1), (1, 5, 5), 1.0),
    (nn.AdaptiveAvgPool2d(1), (1, 4, 4), 1.0),
]


@pytest.mark.parametrize(("pool", "shape", "bound"), POOLS, ids=[str(pool) for pool, _, _ in POOLS])
def test_a_pool_stretches_no_difference_more_than_its_bound(
    pool: nn.Module, shape: tuple[int, ...], bound: float, seed: int
) -> None:
    assert lipschitz_bound(nn.Sequential(pool), {}) == pytest.approx(bound)
    torch.manual_seed(seed)
    spikes = torch.eye(math.prod(shape)).view(-1, *shape)
    for one, other in ((torch.zeros(1, *shape), spikes), (torch.randn(500, *shape), torch.randn(500, *shape))):
        ratios = (pool(one) - pool(other)).flatten(1).norm(dim=1) / (one - other).flatten(1).norm(dim=1)
        assert ratios.max() <= bound * (1 + 1e-6)


def test_a_spike_in_overlapping_windows_is_stretched_by_the_bound() -> None:
    pool, spike = nn.MaxPool1d(3, stride=1), torch.zeros(1, 1, 7)
    spike[..., 3] = 1
    assert float(pool(spike).norm()) == pytest.approx(lipschitz_bound(nn.Sequential(pool), {}))


def test_a_constant_does_not_move() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x + self.token], 1)

    assert lipschitz_bound(Token(), {}) == pytest.approx(math.sqrt(2))


def test_a_slope_above_one_stretches() -> None:
    assert lipschitz_bound(nn.Sequential(nn.LeakyReLU(-3.0)), {}) == 3
    assert lipschitz_bound(nn.Sequential(nn.LeakyReLU(0.1)), {}) == 1


def test_a_released_centring_stretches_by_its_largest_scale() -> None:
    module = build("cnn3", "released_msn", image_size=8).features.block1.norm
    module.weight.data[3] = -2.5
    assert lipschitz_bound(nn.Sequential(module), {}) == 2.5


def test_a_convolutions_own_padding_is_in_its_norm(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular").double()
    expected = float(torch.linalg.matrix_norm(dense(layer, (2, 5, 5)), 2))
    assert operator_norm(layer, (2, 5, 5), iterations=60) == pytest.approx(expected, rel=1e-6)


UNKNOWN = [
    nn.Softmax(1),
    nn.GELU(),
    nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
    nn.BatchNorm1d(2, track_running_stats=False),
]


@pytest.mark.parametrize("module", UNKNOWN, ids=str)
def test_a_module_of_unknown_stretch_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"no bound known for '0', a {type(module).__name__}"):
        lipschitz_bound(nn.Sequential(module), {})


def test_an_operation_of_unknown_stretch_is_refused() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    with pytest.raises(ValueError, match="no bound known for the operation 'mul'"):
        lipschitz_bound(Square(), {})
