"""Networks by name."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dynamics.models import MODELS, build
from dynamics.norms import NORMS

OPTIONS = {
    "cnn3": {},
    "vgg7": {},
    "densenet_bc": {"depth": 16, "growth": 4},
    "critic": {"width": 4},
    "generator": {"width": 4, "latent": 8},
}


def network(model: str, norm: str, **options: object) -> nn.Module:
    return build(model, norm, in_channels=3, image_size=32, **OPTIONS[model], **options)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_model_runs_with_every_norm(model: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    net = network(model, norm)
    x = torch.randn(2, *net.example_input().shape[1:])
    net(x).square().sum().backward()
    assert net.eval()(x).isfinite().all()
    assert all(p.grad is not None for name, p in net.named_parameters() if not name.endswith("renorm"))


@pytest.mark.parametrize(
    ("model", "norm"),
    [("cnn3", "msn"), ("vgg7", "sn"), pytest.param("densenet_bc", "msn", marks=pytest.mark.slow), ("critic", "bn")],
)
def test_a_network_compiles_without_a_break(model: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    net = network(model, norm)
    twin, x = copy.deepcopy(net), torch.randn(2, *net.example_input().shape[1:])
    compiled = torch.compile(twin, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_images_travel_channels_last(model: str) -> None:
    net = network(model, "sn")
    seen: list[bool] = []

    def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output.is_contiguous(memory_format=torch.channels_last))

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(look)
    net(torch.randn(2, *net.example_input().shape[1:]))
    assert seen
    assert all(seen)


def test_memory_format_is_no_part_of_the_numbers(seed: int) -> None:
    torch.manual_seed(seed)
    net = network("cnn3", "msn").double()
    other = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(other(x), net(x))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("norm", ["sn", "msn", "released_sn", "released_msn", "sn_beta"])
def test_at_one_seed_every_norm_starts_from_the_same_weights(model: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    plain = network(model, "none")
    torch.manual_seed(seed)
    other = network(model, norm)
    theirs = {name.replace("parametrizations.weight.original", "weight"): p for name, p in other.named_parameters()}
    for name, weight in plain.named_parameters():
        torch.testing.assert_close(theirs[name], weight, rtol=0, atol=0)


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match="no model 'resnet': expected one of cnn3, vgg7, densenet_bc, critic, generator"
    ):
        build("resnet", "bn")


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="no norm 'gn': expected one of none, bn, sn, msn"):
        build("cnn3", "gn")
