"""DenseNet-BC in both scopes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynamics.models import build
from dynamics.models.densenet_bc import DenseNetBC
from dynamics.models.parts.channel_buffer import ChannelBuffer
from dynamics.models.parts.leaky_relu import LeakyReLU
from dynamics.norms import MeanCentring, SpectralNorm, norm_named
from dynamics.norms.surgery.deparametrize import is_reparametrised
from dynamics.norms.weight_matrix import LAYERS

SMALL = {"in_channels": 3, "image_size": 8, "depth": 16, "growth": 4}
BLOCKS_AND_TRANSITIONS = (("block1", "transition1"), ("block2", "transition2"), ("block3", None))


def activated(module: nn.Module, x: Tensor, number: str = "") -> Tensor:
    """Return LeakyReLU of the module's norm, if it has one, of x."""
    return F.leaky_relu(getattr(module, f"norm{number}", nn.Identity())(x.clone()), 0.1)


def normalised_where_read(model: DenseNetBC, x: Tensor) -> Tensor:
    """Norm, activation, conv: the pre-activation DenseNet as Huang et al. write it."""
    x = model.features.conv(x)
    for block, transition in BLOCKS_AND_TRANSITIONS:
        for layer in model.features.get_submodule(block):
            middle = layer.conv1(activated(layer, x, "1"))
            x = torch.cat([x, layer.conv2(activated(layer, middle, "2"))], 1)
        if transition is not None:
            part = model.features.get_submodule(transition)
            x = F.avg_pool2d(part.conv(activated(part, x)), 2)
    return model.classifier(activated(model.features, x).mean((2, 3)))


def equation_7(model: DenseNetBC, x: Tensor) -> Tensor:
    """``h = W g; h~ = h - E[h] + m; g = f(h~)``, layer by layer; a transition's h is averaged first."""

    def made(module: nn.Module, h: Tensor, number: str = "") -> Tensor:
        norm = getattr(module, f"norm{number}")
        mean = h.mean((0, 2, 3)) if model.training else norm.running_mean
        if model.training:
            norm.running_mean = (0.9 * norm.running_mean + 0.1 * mean).detach()
        return F.leaky_relu(h + (norm.bias - mean)[:, None, None], 0.1)

    g = made(model.features, model.features.conv(x), "0")
    for block, transition in BLOCKS_AND_TRANSITIONS:
        for layer in model.features.get_submodule(block):
            g = torch.cat([g, made(layer, layer.conv2(made(layer, layer.conv1(g), "1")), "2")], 1)
        if transition is not None:
            part = model.features.get_submodule(transition)
            g = made(part, F.avg_pool2d(part.conv(g), 2))
    return model.classifier(g.mean((2, 3)))


READ = [*((norm, "full") for norm in ("none", "sn", "wn", "bn")), *((norm, "released") for norm in ("sn", "msn", "bn"))]
MADE = [("msn", "full"), ("wn_mean", "full")]
REFERENCES = [*((*case, normalised_where_read) for case in READ), *((*case, equation_7) for case in MADE)]


@pytest.mark.parametrize(("norm", "scope", "reference"), REFERENCES)
def test_outputs_and_gradients_are_those_of_the_formula(
    norm: str, scope: str, reference: Callable[[DenseNetBC, Tensor], Tensor], seed: int
) -> None:
    torch.manual_seed(seed)
    ours = DenseNetBC(norm_named(norm), scope=scope, **SMALL).double()
    plain, x = copy.deepcopy(ours), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    functions = [(ours, ours), (plain, lambda x: reference(plain, x))]
    for _ in range(3):
        outputs = []
        for model, function in functions:
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            outputs.append(function(x))
            optimizer.zero_grad()
            outputs[-1].square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
        for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), reference(plain.eval(), x), rtol=1e-12, atol=1e-12)


def widths_seen(model: nn.Module, kind: type[nn.Module]) -> list[int]:
    """Return of how many channels each call of a kind of module was, in one forward."""
    widths: list[int] = []
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _module, _inputs, output: widths.append(output.shape[1]))
    model(torch.randn(2, 3, 8, 8))
    return widths


DENSE_LAYER = [16, 4]  # the bottleneck, the new channels
EACH_CHANNEL = [8, *DENSE_LAYER * 2, 12, *DENSE_LAYER * 2, 16, *DENSE_LAYER * 2]


def test_each_mean_is_taken_once() -> None:
    assert widths_seen(build("densenet_bc", "msn", **SMALL), MeanCentring) == EACH_CHANNEL


@pytest.mark.parametrize("norm", ["none", "sn", "msn", "wn", "wn_mean"])
def test_each_channel_is_activated_once(norm: str) -> None:
    assert widths_seen(build("densenet_bc", norm, **SMALL), LeakyReLU) == EACH_CHANNEL


def test_batch_norm_normalises_a_channel_anew_for_each_reader() -> None:
    widths = widths_seen(build("densenet_bc", "bn", **SMALL), nn.BatchNorm2d)
    # In each block: all channels so far and the bottleneck, twice; then what the transition or the last average reads.
    assert widths == [width for first in (8, 12, 16) for width in (first, 16, first + 4, 16, first + 8)]


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


def test_a_layer_leaves_the_channels_before_it_as_they_are(seed: int) -> None:
    """Also where its first module works in place, as LeakyReLU does behind a norm that was taken out."""
    layer = build("densenet_bc", "bn", in_channels=3, image_size=32, depth=10).features.block1[0]
    layer.norm1 = nn.Identity()
    features = ChannelBuffer(torch.randn(2, 24, 8, 8, generator=torch.Generator().manual_seed(seed)), channels=36)
    before = features.value.clone()
    layer(features)
    assert torch.equal(features.value, before)
