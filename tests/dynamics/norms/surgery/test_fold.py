"""Norms folded into plain layers for inference."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dynamics.models import build
from dynamics.norms import MeanCentring, convert, fold
from dynamics.norms.channel_bias import ChannelBias
from dynamics.norms.surgery.deparametrize import is_reparametrised

MODELS = {
    "cnn3": ({"image_size": 12}, (3, 1, 12, 12)),
    "vgg7": ({"in_channels": 3, "image_size": 32}, (2, 3, 32, 32)),
    "densenet_bc": ({"in_channels": 3, "image_size": 8, "depth": 16, "growth": 4}, (3, 3, 8, 8)),
    "critic": ({"in_channels": 3, "image_size": 16, "width": 4}, (3, 3, 16, 16)),
    "generator": ({"in_channels": 3, "image_size": 16, "width": 4, "latent": 6}, (3, 6)),
}


def trained(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the model in eval mode after forwards and updates that give every parameter and buffer its own value."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model.eval()


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def leaving(what: str | None) -> AbstractContextManager[object]:
    """Expect that ``fold`` says it left something; without, its warning would fail the test."""
    return pytest.warns(UserWarning, match=what) if what else nullcontext()


LEFT = "fold left 9 unfolded: features"  # batch norms that read concatenated channels
CASES = [*((name, norm) for name in MODELS for norm in ("bn", "sn", "msn", "wn_mean")), ("cnn3", "sn_beta")]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_outputs_stay_equal(name: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    options, shape = MODELS[name]
    x = torch.randn(shape)
    model = trained(build(name, norm, **options), x)
    with leaving(LEFT if (name, norm) == ("densenet_bc", "bn") else None):
        folded = fold(model)
    torch.testing.assert_close(outputs(folded, x), outputs(model, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn3", "vgg7", "critic", "generator"])
def test_no_extra_module_is_left(name: str) -> None:
    options, _ = MODELS[name]
    plain, folded = build(name, "none", **options), fold(build(name, "msn", **options))
    assert [type(module) for module in folded.modules()] == [type(module) for module in plain.modules()]
    assert [p.shape for p in folded.parameters()] == [p.shape for p in plain.parameters()]


def test_of_an_msn_densenet_biases_alone_are_left() -> None:
    options, _ = MODELS["densenet_bc"]
    plain, folded = build("densenet_bc", "none", **options), fold(build("densenet_bc", "msn", **options))
    assert [type(module) for module in folded.modules()] == [type(module) for module in plain.modules()]
    assert all(module.bias is not None for module in folded.modules() if isinstance(module, nn.Conv2d))


def test_what_reads_concatenated_channels_stays() -> None:
    options, _ = MODELS["densenet_bc"]
    with leaving("fold left 9 unfolded: features"):
        recentred = fold(convert(build("densenet_bc", "bn", **options), "msn"))
    kinds = [type(module) for module in recentred.modules()]
    assert MeanCentring not in kinds
    assert not any(is_reparametrised(module) for module in recentred.modules())
    # Two dense layers a block, two transitions and the last norm.
    assert kinds.count(ChannelBias) == 6 + 2 + 1


AVERAGES = {
    "plain": (nn.AvgPool2d(2), True),
    "overlapping, cut off at the edge": (nn.AvgPool2d(3, stride=2, ceil_mode=True), True),
    "padded": (nn.AvgPool2d(2, padding=1), False),
    "padded on one side": (nn.AvgPool2d(3, padding=(0, 1)), False),
    "with a divisor of its own": (nn.AvgPool2d(2, divisor_override=3), False),
    "maxima": (nn.MaxPool2d(2), False),
}


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, MeanCentring], ids=lambda norm: norm.__name__)
@pytest.mark.parametrize(("pool", "folds"), AVERAGES.values(), ids=AVERAGES)
def test_a_norm_folds_through_averages_into_the_layer_before(
    pool: nn.Module, folds: bool, norm: type[nn.Module], seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(4, 2, 6, 6)
    model = trained(nn.Sequential(nn.Conv2d(2, 3, 3), copy.deepcopy(pool), norm(3), nn.ReLU()), x)
    with leaving(None if folds else "2 .it reads the output of 1, a .*Pool2d"):
        folded = fold(model)
    assert (len(folded) == 3) is folds
    torch.testing.assert_close(outputs(folded, x), outputs(model, x), rtol=1e-5, atol=1e-5)


def test_averages_that_two_things_read_are_left(seed: int) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.norm = nn.Conv2d(2, 3, 3), nn.AvgPool2d(2), MeanCentring(3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.pool(self.conv(x))
            return h * self.norm(h)

    torch.manual_seed(seed)
    x = torch.randn(4, 2, 6, 6)
    model = trained(Pooled(), x)
    with leaving("norm .it reads no module's output, or one that something else reads too"):
        folded = fold(model)
    assert isinstance(folded.norm, ChannelBias)
    torch.testing.assert_close(outputs(folded, x), outputs(model, x))


@pytest.mark.parametrize("norm", ["bn", "msn"])
def test_a_converted_resnet_folds(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 32, 32)
    resnet = torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)
    model = convert(resnet, norm, inplace=True)
    outputs(model, x)  # in training mode: the running moments leave their start
    folded = fold(model.eval())
    scale = float(outputs(model, x).abs().max())
    torch.testing.assert_close(outputs(folded, x) / scale, outputs(model, x) / scale, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(m, (MeanCentring, ChannelBias, nn.BatchNorm2d)) for m in folded.modules())


def test_the_model_itself_is_left_alone(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(3, 1, 12, 12)
    model = build("cnn3", "msn", image_size=12)
    model(x)
    before, keys = copy.deepcopy(model.state_dict()), list(model.state_dict())
    fold(model)
    assert model.training
    assert list(model.state_dict()) == keys
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model(x).sum().backward()


def test_a_layer_whose_output_two_things_read_keeps_it(seed: int) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 3), MeanCentring(3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.linear(x)
            return h + self.norm(h)

    torch.manual_seed(seed)
    x, model = torch.randn(4, 3), Residual()
    trained(model, x)
    with leaving("norm .it reads no module's output, or one that something else reads too"):
        folded = fold(model)
    assert isinstance(folded.norm, ChannelBias)
    torch.testing.assert_close(outputs(folded, x), outputs(model, x))


def test_nothing_to_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="CNN3 has nothing to fold: no reparametrised weight, no norm"):
        fold(build("cnn3", "none"))


def test_a_forward_that_branches_on_values_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = MeanCentring(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) if x.sum() > 0 else x

    with pytest.raises(ValueError, match="cannot trace the forward of Branching"):
        fold(Branching())


def test_batch_norm_without_running_moments_is_left() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    with leaving("1 .it has no running moments"):
        folded = fold(model)
    x = torch.randn(4, 3)
    torch.testing.assert_close(outputs(folded, x), outputs(model, x))
