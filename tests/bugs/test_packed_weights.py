"""Statistics of quantised or packed weights were statistics of their bytes, or the layer had no row and no gap."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes.model.packed import why_packed


class Codes(nn.Module):
    """A linear layer of 8-bit codes with a scale, as bitsandbytes has it."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(4, 4)
        self.register_buffer("scale", weight.abs().max() / 127)
        self.weight = nn.Parameter((weight / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype) * self.scale)


class Params4bit(nn.Parameter):
    """Packed codes in a floating dtype, as QLoRA stores them for FSDP."""

    quant_state = "absmax"


class Packed(torch.Tensor):
    """A tensor that wraps codes and scales, as torchao has it."""

    def __tensor_flatten__(self):
        return ["codes", "scales"], None


def test_a_layer_of_codes_has_its_outputs_and_a_gap_for_its_weight(record):
    model, seen = nn.Sequential(Codes(), nn.Linear(4, 2)), []
    model[0].register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    found = record(model, [lambda m: m(torch.randn(3, 4)).square().mean()])
    assert found["0"]["activation_mean"] == pytest.approx(seen[0].mean().item(), rel=1e-5, abs=1e-7)
    assert found["0"][["weight_mean", "spectral_norm"]].isna().all()
    assert found["1"][["weight_mean", "spectral_norm"]].notna().all()
    (gap,) = found.of("weight")
    assert gap == ("0", "not recorded: its int8 entries are codes, quantised, packed or indices")


def test_what_holds_codes_is_told_from_what_holds_weights():
    weight = torch.randn(3, 4)
    assert why_packed(nn.Parameter(weight)) is None
    assert why_packed(weight.half()) is None
    assert why_packed(weight.to(torch.complex64)) is None
    assert "int8" in why_packed(weight.to(torch.int8))
    assert "float8_e4m3fn" in why_packed(weight.to(torch.float8_e4m3fn))
    assert "Params4bit" in why_packed(Params4bit(weight, requires_grad=False))
    assert "Packed wraps other tensors" in why_packed(weight.as_subclass(Packed))


def test_a_weight_that_is_packed_later_is_a_gap_from_then_on(record):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))

    def loss(m):
        value = m(torch.randn(3, 4)).square().mean()
        if len(calls):
            m[0].weight = Params4bit(m[0].weight.detach(), requires_grad=False)
        calls.append(1)
        return value

    calls: list[int] = []
    found = record(model, [loss], [loss])
    rows = found.layers.set_index(["step", "layer"])["weight_mean"].notna()
    assert rows.to_dict() == {(0, "0"): True, (0, "1"): True, (1, "0"): False, (1, "1"): True}
    assert ("0", "ValueError: a Params4bit holds quantised codes.") in found.of("weight_moments")
