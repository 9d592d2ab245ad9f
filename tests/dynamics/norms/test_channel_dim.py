"""Mean-centring and the shift alone of sequences, ``(batch, time, channel)``: Eq. 7 with the channels behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dynamics.norms import MeanCentring, fold
from dynamics.norms.channel_bias import ChannelBias
from tests.dynamics.norms.output_and_gradients import gradients

CHANNELS = 3
SHAPES = {"no time": (6, 3), "time": (4, 5, 3), "time and heads": (2, 4, 5, 3)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def numbers(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2


def naive(h: Tensor, m: Tensor) -> Tensor:
    """Return Eq. 7 channel by channel, the mean over batch and time."""
    return torch.stack([h[..., c] - h[..., c].mean() + m[c] for c in range(CHANNELS)], dim=-1)


def centring(seed: int, **settings: bool) -> MeanCentring:
    module = MeanCentring(CHANNELS, channel_dim=-1, **settings).double()  # type: ignore[arg-type]
    nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    return module


@every_shape
@pytest.mark.parametrize("inplace", [False, True])
def test_output_and_gradients_are_those_of_equation_7(shape: tuple[int, ...], inplace: bool, seed: int) -> None:
    module, h = centring(seed, inplace=inplace), numbers(shape, seed)
    found = gradients(module, h, module.bias)
    expected = gradients(lambda x: naive(x, module.bias), h, module.bias)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@every_shape
def test_plain_operations_give_the_same(shape: tuple[int, ...], seed: int) -> None:
    module, h = centring(seed), numbers(shape, seed)
    moved = torch.func.grad(lambda x: module(x).pow(3).sum())(h)
    expected = torch.func.grad(lambda x: naive(x, module.bias).pow(3).sum())(h)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(module.running_mean, 0.1 * h.flatten(0, -2).mean(0))


def test_channels_behind_are_channels_in_front_moved(seed: int) -> None:
    behind, front, h = centring(seed), MeanCentring(CHANNELS).double(), numbers(SHAPES["time"], seed)
    front.load_state_dict(behind.state_dict())
    torch.testing.assert_close(behind(h), front(h.movedim(-1, 1)).movedim(1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(behind.running_mean, front.running_mean, rtol=0, atol=1e-12)


def test_evaluation_subtracts_the_running_mean_and_knows_no_later_time(seed: int) -> None:
    module, h = centring(seed), numbers(SHAPES["time"], seed)
    module(h)
    module.eval()
    torch.testing.assert_close(module(h), h - module.running_mean + module.bias)
    later = h.clone()
    later[:, 3:] += 1
    assert torch.equal(module(later)[:, :3], module(h)[:, :3])
    assert not torch.equal(module.train()(later)[:, :3], module(h)[:, :3])  # as the docstring warns


def test_it_compiles_into_one_graph_with_the_same_numbers(seed: int) -> None:
    eager, h = centring(seed), numbers(SHAPES["time"], seed)
    compiled = copy.deepcopy(eager)
    torch.testing.assert_close(torch.compile(compiled, fullgraph=True, backend="eager")(h), eager(h))
    torch.testing.assert_close(compiled.running_mean, eager.running_mean)


@every_shape
@pytest.mark.parametrize("inplace", [False, True])
def test_the_shift_alone_is_added_to_each_channel(shape: tuple[int, ...], inplace: bool, seed: int) -> None:
    module, h = ChannelBias(CHANNELS, channel_dim=-1, inplace=inplace).double(), numbers(shape, seed)
    nn.init.normal_(module.bias)
    expected = torch.stack([h[..., c] + module.bias[c] for c in range(CHANNELS)], dim=-1)
    torch.testing.assert_close(module(h * 1), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [MeanCentring, ChannelBias])
def test_a_wrong_place_of_channels_is_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, ..., 3\), got \(4, 3, 5\)"):
        kind(CHANNELS, channel_dim=-1)(torch.zeros(4, 3, 5))
    with pytest.raises(ValueError, match=r"expected a batch with 3 in dimension 2, got \(4, 3\)"):
        kind(CHANNELS, channel_dim=2)(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="channel_dim 0 is the batch"):
        kind(CHANNELS, channel_dim=0)
    assert "channel_dim=-1" in repr(kind(CHANNELS, channel_dim=-1))


def test_it_folds_into_the_linear_layer_before_it(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, CHANNELS), centring(seed), nn.ReLU(), nn.Linear(CHANNELS, 2)).double()
    x = numbers((4, 5, 4), seed)
    network(x)
    folded = fold(network)
    assert [type(module) for module in folded] == [nn.Linear, nn.ReLU, nn.Linear]
    torch.testing.assert_close(folded(x), network.eval()(x))


@pytest.mark.parametrize("before", [nn.Conv1d(4, 3, 1), nn.Sequential(nn.Linear(4, 3), nn.AvgPool1d(3, 1, 0))])
def test_it_folds_into_no_layer_with_channels_elsewhere(before: nn.Module, seed: int) -> None:
    network = nn.Sequential(before, MeanCentring(3 if isinstance(before, nn.Conv1d) else 1, channel_dim=-1)).double()
    x = numbers((2, 4, 3) if isinstance(before, nn.Conv1d) else (2, 3, 4), seed)
    network(x)
    with pytest.warns(UserWarning, match="fold left 1 unfolded"):
        folded = fold(network)
    assert isinstance(folded[-1], ChannelBias)
    torch.testing.assert_close(folded(x), network.eval()(x))
