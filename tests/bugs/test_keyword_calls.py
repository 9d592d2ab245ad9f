"""A convolution that is called by keyword, ``conv(input=x)``, cost all convolutions their operator norms.

Sources: https://github.com/pytorch/pytorch/issues/156695 and 35643, https://github.com/sksq96/pytorch-summary/issues/59.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.b(self.a(input=x))


def dense_norm(conv):
    basis = torch.eye(conv.in_channels * 36, dtype=torch.float64).reshape(-1, conv.in_channels, 6, 6)
    return torch.linalg.svdvals(F.conv2d(basis, conv.weight.detach().double(), padding=1).flatten(1))[0].item()


def test_a_convolution_called_by_keyword_has_its_operator_norm(record):
    model, x = Net(), torch.randn(2, 2, 6, 6)
    truth = {name: dense_norm(conv) for name, conv in model.named_children()}
    found = record(model, [lambda m: m(x).square().mean()], metrics=["operator_norm"], every={"operator_norm": 1})
    for name, norm in truth.items():
        assert norm * 0.99 < found[name]["operator_norm"] <= norm * (1 + 1e-6)
    assert found.gaps == []


class WithoutInput(nn.Conv2d):
    """A convolution of a learned constant: it is called with no tensor."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.start = nn.Parameter(torch.randn(1, 2, 6, 6))

    def forward(self):
        return super().forward(self.start)


def test_a_convolution_called_with_no_tensor_is_a_gap_of_its_own(record):
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = WithoutInput(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self):
            return self.b(self.a())

    found = record(Generator(), [lambda m: m().square().mean()], metrics=["operator_norm"], every={"operator_norm": 1})
    assert found["b"]["operator_norm"] > 0
    (gap,) = found.of("operator_norm")
    assert gap[0] == "a"
    assert "no tensor was found among the arguments" in gap[1]
