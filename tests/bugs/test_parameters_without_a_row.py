"""Parameters whose name contains ``bias`` and that belong to no weight had no row and no gap.

Found by training timm's Swin (``relative_position_bias_table``) and BEiT-like heads (``q_bias``, ``logit_bias``).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes.model.layer import LEGACY_SUFFIXES, parametrizations_of
from probes.model.selection import select_layers


def unrecorded(model: nn.Module) -> set[str]:
    """Return the trained parameters that are neither weight nor bias of some row."""
    recorded = set()
    for layer in select_layers(model).layers:
        parameters = layer.module._parameters
        names = [layer.weight, layer.bias, *((layer.weight or "") + suffix for suffix in (*LEGACY_SUFFIXES, "_g"))]
        recorded |= {id(parameters[name]) for name in names if name in parameters}
        for parametrization in parametrizations_of(layer.module).values():
            recorded |= {id(parameter) for parameter in parametrization.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in recorded}


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.logit_bias, self.q_bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.relative_position_bias_table = nn.Parameter(torch.randn(9, 2))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.linear(x) + self.logit_bias * self.q_bias + self.relative_position_bias_table.sum() + self.bias


def test_each_parameter_named_bias_has_a_row_with_its_gradient(record):
    found = record(nn.Sequential(Head()), [lambda m: m(torch.randn(2, 3)).square().mean()])
    for name in ("logit_bias", "q_bias", "relative_position_bias_table", "bias"):
        assert found[f"0.{name}"]["grad_l2_norm"] > 0
    assert found["0.q_bias"]["weight_l2_norm"] == pytest.approx(3**0.5)
    assert found["0.linear"]["bias_mean"] is not None


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj, self.gate_up_proj_bias = nn.Parameter(torch.randn(2, 3, 4)), nn.Parameter(torch.ones(2, 4))

    def forward(self, x):
        return torch.einsum("nd,edh->enh", x, self.gate_up_proj) + self.gate_up_proj_bias[:, None]


class Scaled(nn.Linear):
    """A weight with vectors and a scalar beside it."""

    def __init__(self):
        super().__init__(3, 3)
        self.gamma, self.logit_scale = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))


MODELS = {
    "head": Head,
    "experts": Experts,
    "scaled": Scaled,
    "attention": lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, kdim=4, vdim=6),
    "transformer": lambda: nn.TransformerDecoderLayer(8, 2, 8),
    "lstm": lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2),
    "cell": lambda: nn.GRUCell(3, 4),
    "bilinear": lambda: nn.Bilinear(3, 4, 5),
    "lists": lambda: nn.ParameterList([torch.randn(3), torch.randn(2, 2)]),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)),
    "complex": lambda: nn.Linear(3, 4, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", MODELS)
def test_each_trained_parameter_is_the_weight_or_the_bias_of_a_row(kind):
    assert unrecorded(nn.Sequential(MODELS[kind]())) == set()


def test_a_bias_stands_beside_the_weight_it_is_named_after():
    rows = {layer.name: layer.bias for layer in select_layers(nn.Sequential(Experts())).layers}
    assert rows["0.gate_up_proj"] == "gate_up_proj_bias"
    assert "0.gate_up_proj_bias" not in rows


def test_swin_is_recorded_in_full():
    timm = pytest.importorskip("timm")
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1), embed_dim=16, num_heads=(1, 2), num_classes=3
    )
    assert unrecorded(swin) == set()
