"""A module that serves layers of unlike widths cost every layer its activation statistics.

Source: https://github.com/davidtvs/PyTorch-ENet/issues/27 (one PReLU behind convolutions of 4 and 8 channels).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.act = nn.PReLU()

    def forward(self, x):
        return self.act(self.second(self.act(self.first(x))))


PER_CHANNEL = ["activation_drift", "dead_fraction"]
WHOLE = ["activation_mean", "activation_var", "activation_nonfinite", "saturated_fraction", "activation_grad_var"]


@pytest.mark.parametrize("passes", [1, 2])
def test_the_shared_module_has_the_statistics_of_all_its_outputs_and_none_by_channel(record, passes):
    model, seen = Net(), {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda _m, _i, out, name=name: seen.setdefault(name, []).append(out.detach().flatten())
        )
    x = torch.randn(passes, 2, 1, 6, 6)
    found = record(model, [lambda m, each=each: m(each).square().mean() for each in x], every=dict.fromkeys(GROUPS, 1))
    for name, parts in seen.items():
        whole, row = torch.cat(parts).double(), found[name]
        assert row["activation_mean"] == pytest.approx(whole.mean().item(), rel=1e-5, abs=1e-7)
        assert row["activation_var"] == pytest.approx(whole.var(correction=0).item(), rel=1e-5)
        assert row["saturated_fraction"] == pytest.approx((whole.abs() > 3).double().mean().item())
        assert row[WHOLE].notna().all()
    assert found["act"][PER_CHANNEL].isna().all()
    assert found["first"][PER_CHANNEL].notna().all()
    assert found["second"][PER_CHANNEL].notna().all()
    assert found.gaps == []


GROUPS = ["activations", "saturation", "activation_gradients", "activation_histograms"]
