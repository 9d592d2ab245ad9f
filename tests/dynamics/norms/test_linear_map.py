"""A layer as a linear map: held against the layer itself and against its dense matrix."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from dynamics.norms.linear_map import LinearMap

CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(4, 3), (4,)),
    "conv1d": (nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 7)),
    "conv3d": (nn.Conv3d(1, 2, 2), (1, 3, 3, 2)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 3, 3)),
    "same": (nn.Conv2d(2, 2, 3, padding="same", dilation=2), (2, 5, 5)),
    "valid": (nn.Conv2d(2, 2, 3, padding="valid"), (2, 4, 4)),
}
for stride, padding, dilation, groups in itertools.product((1, 2), (0, 2), (1, 2), (1, 2)):
    CASES[f"stride {stride} padding {padding} dilation {dilation} groups {groups}"] = (
        nn.Conv2d(2, 4, (3, 2), stride=stride, padding=padding, dilation=dilation, groups=groups),
        (2, 6, 5),
    )
every_case = pytest.mark.parametrize(("layer", "shape"), CASES.values(), ids=CASES)


def dense(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return the layer's matrix, a column per input unit, from the layer's own forward."""
    size = int(torch.tensor(shape).prod())
    inputs = torch.eye(size, dtype=torch.float64).view(size, *shape)
    layer = layer.double()
    with torch.no_grad():
        return (layer(inputs) - layer(torch.zeros_like(inputs))).flatten(1).mT


@every_case
def test_map_and_transpose_are_those_of_the_dense_matrix(layer: nn.Module, shape: tuple[int, ...], seed: int) -> None:
    A, linear = dense(layer, shape), LinearMap(layer, shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = linear(x, layer.weight.detach())
    torch.testing.assert_close(y.flatten(), A @ x.flatten())
    back = linear.transpose(y, layer.weight.detach())
    torch.testing.assert_close(back.flatten(), A.mT @ y.flatten())
    assert back.shape == x.shape


def test_a_layer_without_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot normalise the weight of ReLU"):
        LinearMap(nn.ReLU(), (3,))


def test_other_padding_than_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="zero padding, got padding_mode='circular'"):
        LinearMap(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 4, 4))


def test_padding_one_side_more_is_refused() -> None:
    with pytest.raises(ValueError, match="pads one side more: give padding as numbers"):
        LinearMap(nn.Conv2d(2, 2, 2, padding="same"), (2, 4, 4))
