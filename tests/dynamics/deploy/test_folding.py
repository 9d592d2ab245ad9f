"""Norms of trained networks folded away, and what folding says of those it left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynamics.deploy.folding import fold_network
from dynamics.models import build

PLAIN: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "cnn3": ({"in_channels": 1, "image_size": 12}, (5, 1, 12, 12)),
    "vgg7": ({"in_channels": 3, "image_size": 32}, (3, 3, 32, 32)),
}
DENSE = {"in_channels": 3, "image_size": 8, "depth": 16, "growth": 4}


def with_random_statistics(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode, with running means, variances, scales and shifts of its own."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("running_var"):
            tensor.uniform_(0.3, 3)
        elif name.endswith(("running_mean", "bias")):
            tensor.data.normal_()
        elif tensor.ndim == 1 and name.endswith("weight"):
            tensor.data.uniform_(0.5, 2)
    return network.eval()


def built(model: str, norm: str, options: dict[str, Any]) -> nn.Module:
    return with_random_statistics(build(model, norm, **options))


def outputs(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x)


@pytest.mark.parametrize("model", PLAIN)
@pytest.mark.parametrize("norm", ["bn", "sn", "msn"])
def test_nothing_is_left_and_the_outputs_stay(model: str, norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    options, shape = PLAIN[model]
    network, x = built(model, norm, options), torch.randn(shape)
    before = outputs(network, x)
    folded = fold_network(network)
    assert (folded.left, folded.left_text, folded.reason) == ({}, "", "")
    torch.testing.assert_close(outputs(folded.network, x), before, rtol=1e-5, atol=1e-5 * float(before.abs().max()))
    assert torch.equal(outputs(network, x), before)  # the network itself is as it was


@pytest.mark.parametrize("model", PLAIN)
def test_bn_sn_and_msn_become_the_same_plain_network(model: str) -> None:
    options, _ = PLAIN[model]
    folded = [fold_network(built(model, norm, options)).network for norm in ("none", "bn", "sn", "msn")]
    kinds = [[type(module) for module in network.modules()] for network in folded]
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in folded]
    assert kinds == [kinds[0]] * 4
    assert shapes == [shapes[0]] * 4


@pytest.mark.parametrize("norm", ["sn", "msn"])
def test_a_densenet_of_sn_or_msn_folds_whole(norm: str, seed: int) -> None:
    torch.manual_seed(seed)
    network, x = built("densenet_bc", norm, DENSE), torch.randn(4, 3, 8, 8)
    folded = fold_network(network)
    assert folded.left == {}
    before = outputs(network, x)
    torch.testing.assert_close(outputs(folded.network, x), before, rtol=1e-5, atol=1e-5 * float(before.abs().max()))


def test_a_densenet_of_bn_keeps_the_norms_that_read_concatenated_channels(seed: int) -> None:
    torch.manual_seed(seed)
    network, x = built("densenet_bc", "bn", DENSE), torch.randn(4, 3, 8, 8)
    all_norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    folded = fold_network(network)
    kept = sum(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules())
    # Each of the six dense layers has one behind its 1x1 convolution, which folds; the others read concatenations.
    assert (all_norms, kept, len(folded.left)) == (15, 9, 9)
    assert folded.left_text == "9 BatchNorm2d"
    assert folded.reason == "it reads no module's output, or one that something else reads too"
    before = outputs(network, x)
    torch.testing.assert_close(outputs(folded.network, x), before, rtol=1e-5, atol=1e-5 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("norm", "left"),
    [("none", ""), ("ln", "3 GroupNorm"), ("in", "3 InstanceNorm2d"), ("released_msn", "3 ReleasedMeanCentring")],
)
def test_a_norm_that_fold_does_not_know_is_told(norm: str, left: str, seed: int) -> None:
    torch.manual_seed(seed)
    options, shape = PLAIN["cnn3"]
    network, x = built("cnn3", norm, options), torch.randn(shape)
    folded = fold_network(network)
    assert folded.left_text == left
    assert folded.reason == ("fold knows no such norm" if left else "")
    torch.testing.assert_close(outputs(folded.network, x), outputs(network, x), rtol=1e-5, atol=1e-4)
