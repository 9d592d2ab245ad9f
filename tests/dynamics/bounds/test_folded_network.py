"""Folded copies, and the chains among them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynamics.bounds.folded_network import chain_matrices, folded
from dynamics.models import build

DENSE = {"in_channels": 1, "image_size": 8, "depth": 10, "growth": 3}


@pytest.mark.parametrize("norm", ["none", "bn", "sn", "msn", "wn_mean", "sn_beta", "released_sn"])
@pytest.mark.parametrize("name", ["cnn3", "vgg7"])
def test_the_papers_plain_networks_are_chains_once_folded(name: str, norm: str) -> None:
    size = {"cnn3": {"image_size": 8}, "vgg7": {"image_size": 32}}[name]
    matrices = chain_matrices(folded(build(name, norm, **size)))
    assert len(matrices) == {"cnn3": 4, "vgg7": 7}[name]
    assert all(matrix.ndim == 2 for matrix in matrices.values())


def test_batch_norms_scale_is_in_the_matrices_of_the_chain(seed: int) -> None:
    torch.manual_seed(seed)
    model = build("cnn3", "bn", image_size=8)
    norm = model.features.block2.norm
    with torch.no_grad():
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(-2, 2)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = model.features.block2.conv.weight.flatten(1) * scale[:, None]
    torch.testing.assert_close(chain_matrices(folded(model))["features.block2.conv"], expected.detach())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (build("densenet_bc", "msn", **DENSE), "DenseNetBC is not a chain of layers"),
        (build("cnn3", "ln", image_size=8), "'features.block1.norm', a GroupNorm, stands between its layers"),
        (build("cnn3", "released_msn", image_size=8), "a ReleasedMeanCentring, stands between"),
        (nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), "'0', a BatchNorm1d, stands between its layers"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)), "'1', a Softmax, stands between its layers"),
    ],
    ids=["densenet", "layer norm", "released", "pre-activation", "softmax"],
)
def test_what_is_no_chain_is_refused_with_its_reason(model: nn.Module, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chain_matrices(folded(model))


def test_a_network_that_adds_is_no_chain() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.layer(x)

    with pytest.raises(ValueError, match=r"Residual is not a chain of layers: 'x' is read 2 times"):
        chain_matrices(folded(Residual()))


def test_a_copy_is_in_evaluation_and_the_original_is_left_alone() -> None:
    model = build("cnn3", "none", image_size=8)
    copy = folded(model)
    assert not any(module.training for module in copy.modules())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
