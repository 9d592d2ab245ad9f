"""DenseNet-BC in both scopes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dynamics.models import build
from dynamics.models.densenet_bc import DenseNetBC
from dynamics.norms import MeanCentring, Norm, SpectralNorm, norm_named
from dynamics.norms.layers import LAYERS
from dynamics.norms.plain import is_reparametrised
from dynamics.norms.spectral_norm import spectral_norm

SMALL = {"in_channels": 3, "image_size": 8, "depth": 16, "growth": 4}


class CentredBeforeEachUse(nn.Module):
    """Eq. 7 as it stands, in front of every activation, each with a mean of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))

    def forward(self, h: Tensor) -> Tensor:
        mean = h.mean((0, 2, 3)) if self.training else self.mean
        if self.training:
            self.mean = (0.9 * self.mean + 0.1 * mean).detach()
        return h + (self.m - mean)[:, None, None]


NAIVE = Norm("naive", source="test", weight=spectral_norm, module=lambda channels, _: CentredBeforeEachUse(channels))


def test_means_taken_where_channels_are_made_give_the_numbers_of_eq_7(seed: int) -> None:
    torch.manual_seed(seed)
    ours = DenseNetBC(norm_named("msn"), **SMALL).double()
    torch.manual_seed(seed)
    naive = DenseNetBC(NAIVE, **SMALL).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for _ in range(3):
        for model in (ours, naive):
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            output = model(x)
            optimizer.zero_grad()
            output.square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours(x), naive(x), rtol=1e-9, atol=1e-9)
    gradients = [[p.grad for p in model.parameters() if p.grad.ndim > 1] for model in (ours, naive)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ours.eval()(x), naive.eval()(x), rtol=1e-9, atol=1e-9)


def test_each_mean_is_taken_once() -> None:
    model = build("densenet_bc", "msn", **SMALL)
    widths: list[int] = []

    def note(module: nn.Module, _inputs: object, _output: Tensor) -> None:
        widths.append(module.num_features)

    for module in model.modules():
        if isinstance(module, MeanCentring):
            module.register_forward_hook(note)
    model(torch.randn(2, 3, 8, 8))
    dense_layer = [16, 4]  # the bottleneck, the new channels
    assert widths == [8, *dense_layer * 2, 12, *dense_layer * 2, 16, *dense_layer * 2]


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn"])
@pytest.mark.parametrize("scope", ["full", "released"])
def test_it_takes_images_and_trains(norm: str, scope: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = build("densenet_bc", norm, num_classes=3, scope=scope, **SMALL)
    output = model(torch.randn(2, 3, 8, 8))
    output.square().sum().backward()
    assert output.shape == (2, 3)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_depth_100_has_the_papers_layers() -> None:
    with torch.device("meta"):
        model = build("densenet_bc", "bn", in_channels=3, image_size=32)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 99
    assert [t.conv.out_channels for t in (model.features.transition1, model.features.transition2)] == [172, 291]
    assert model.classifier.in_features == 483


@pytest.mark.parametrize(("norm", "normalised"), [("sn", 4), ("msn", 3), ("bn", 0)])
def test_released_scope_normalises_what_the_scripts_did(norm: str, normalised: int) -> None:
    model = build("densenet_bc", norm, scope="released", **SMALL)
    assert sum(is_reparametrised(module) for module in model.modules() if isinstance(module, LAYERS)) == normalised
    assert not any(isinstance(m, (SpectralNorm, MeanCentring)) for m in model.features.block1.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.features.block1.modules())


def test_full_scope_normalises_every_layer() -> None:
    model = build("densenet_bc", "msn", **SMALL)
    assert all(is_reparametrised(module) for module in model.modules() if isinstance(module, LAYERS))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("depth", [4, 15, 41])
def test_a_depth_that_does_not_fit_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"depth must be 6n \+ 4, such as 40 or 100, got {depth}"):
        build("densenet_bc", "bn", **SMALL | {"depth": depth})


@pytest.mark.parametrize("compression", [0, 1.5])
def test_a_compression_out_of_range_is_refused(compression: float) -> None:
    with pytest.raises(ValueError, match="compression must be above 0 and at most 1, got"):
        build("densenet_bc", "bn", compression=compression, **SMALL)


def test_an_image_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="halves images twice: expected a multiple of 4, got 30"):
        build("densenet_bc", "bn", **SMALL | {"image_size": 30})


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="no scope 'all': expected one of full, released"):
        build("densenet_bc", "bn", scope="all", **SMALL)


def test_released_scope_with_a_norm_of_the_whole_model_is_refused() -> None:
    with pytest.raises(ValueError, match="'released' leaves layers out, and norm 'sn_beta' reaches them all"):
        build("densenet_bc", "sn_beta", scope="released", **SMALL)
