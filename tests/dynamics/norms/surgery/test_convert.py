"""Any network with batch norm turned into the other kinds, and back."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from dynamics.models import build
from dynamics.norms import MeanCentring, SpectralNorm, convert
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.weight_matrix import LAYERS

TORCHVISION = {"resnet18": (20, 21), "vgg11_bn": (8, 11), "densenet121": (121, 121)}  # batch norms, layers


def count(model: nn.Module, *kinds: type[nn.Module]) -> int:
    return sum(isinstance(module, kinds) for module in model.modules())


def small() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_torchvisions_networks_become_msn(name: str) -> None:
    with torch.device("meta"):  # shapes alone: these networks are large
        model = getattr(torchvision.models, name)(num_classes=10)
        converted = convert(model, "msn")
    norms, layers = TORCHVISION[name]
    assert count(model, nn.BatchNorm2d) == norms
    assert count(model, *LAYERS) == layers
    assert count(converted, nn.BatchNorm2d) == 0
    assert count(converted, MeanCentring) == norms
    assert count(converted, SpectralNorm) == layers
    assert converted(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
def test_a_resnet_trains_with_every_norm(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    resnet = torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)
    model = convert(resnet, norm, inplace=True)
    loss = model(torch.randn(3, 3, 32, 32)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("norm", "middle", "spectral"),
    [("none", ChannelBias, 0), ("bn", nn.BatchNorm1d, 0), ("sn", ChannelBias, 2), ("msn", MeanCentring, 2)],
)
def test_each_kind_has_its_modules(norm: str, middle: type[nn.Module], spectral: int) -> None:
    converted = convert(small(), norm)
    assert type(converted[1]) is middle
    assert count(converted, SpectralNorm) == spectral


@pytest.mark.parametrize("first", ["none", "bn", "sn", "msn"])
@pytest.mark.parametrize("second", ["none", "bn", "sn", "msn"])
def test_conversions_chain_and_keep_weights_and_shift(first: str, second: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = small()
    nn.init.normal_(model[1].bias)
    way = convert(convert(convert(model, first), second), "bn")
    assert list(way.state_dict()) == list(model.state_dict())
    assert type(way[0]) is nn.Conv1d
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(way.get_parameter(name), parameter, rtol=0, atol=0)


def test_a_copy_leaves_the_model_as_it_was(seed: int) -> None:
    torch.manual_seed(seed)
    model, x = convert(small(), "sn"), torch.randn(2, 2, 6)
    before, expected = copy.deepcopy(model.state_dict()), model.eval()(x)
    for norm in ("none", "bn", "msn"):
        converted = convert(model, norm)
        assert converted is not model
        converted(x)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_in_place_it_changes_the_model_itself() -> None:
    model = small()
    assert convert(model, "msn", inplace=True) is model
    assert isinstance(model[1], MeanCentring)


def test_the_papers_own_models_convert(seed: int) -> None:
    torch.manual_seed(seed)
    for norm in ("none", "bn", "sn", "msn"):
        converted = convert(build("cnn3", "msn", image_size=8), norm)
        converted(torch.randn(3, 1, 8, 8)).sum().backward()
    assert type(convert(build("cnn3", "msn"), "bn").features.block1.norm) is nn.BatchNorm2d


def test_a_norm_that_stands_in_two_places_stays_one() -> None:
    shared = nn.BatchNorm1d(3)
    model = nn.ModuleList([nn.Linear(3, 3), shared, nn.Linear(3, 3), shared])
    converted = convert(model, "msn")
    assert converted[1] is converted[3]


def test_momentum_mode_and_type_carry_over() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=0.3)).double().eval()
    centring = convert(model, "msn")[1]
    assert centring.momentum == 0.3
    assert not centring.training
    assert centring.bias.dtype == centring.running_mean.dtype == torch.float64


def test_a_batch_norm_without_scale_and_shift_leaves_no_m() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    assert convert(model, "msn")[1].bias is None
    assert isinstance(convert(model, "sn")[1], nn.Identity)


def test_without_batch_norm_weights_alone_are_normalised() -> None:
    assert count(convert(nn.Sequential(nn.Linear(3, 3)), "sn"), SpectralNorm) == 1


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="no norm 'wn' to convert to: expected one of none, bn, sn, msn"):
        convert(small(), "wn")


def test_nothing_to_normalise_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has nothing to normalise: no linear or convolution layer"):
        convert(nn.ReLU(), "sn")


def test_no_place_to_centre_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no batch norm that 'msn' could replace"):
        convert(nn.Linear(2, 2), "msn")


def test_a_foreign_parametrization_is_refused() -> None:
    with pytest.raises(ValueError, match="0: another parametrization computes its weight; remove that first"):
        convert(nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2))), "sn")


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3, track_running_stats=False), nn.BatchNorm1d(3, momentum=None)])
def test_batch_norm_without_a_running_mean_is_refused(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match="1: expected a batch norm with running moments and a momentum"):
        convert(nn.Sequential(nn.Linear(3, 3), norm), "msn")


def test_a_lazy_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="1: a lazy batch norm has no channels yet; run the model once first"):
        convert(nn.Sequential(nn.Linear(3, 3), nn.LazyBatchNorm1d()), "msn")
