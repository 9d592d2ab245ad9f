"""A warm start inside an invariant subspace did not see another that overtook it: up to 15 % too low.

Invariant are the groups of a grouped convolution, and the Fourier modes of a circular one.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes.metrics.operator_norm import Convolution, operator_norms

KINDS = {
    "depthwise": {"groups": 4},
    "depthwise circular": {"groups": 4, "padding_mode": "circular"},
    "two groups": {"groups": 2},
    "circular": {"padding_mode": "circular"},
    "dense": {},
}


@pytest.mark.parametrize("growth", [1.05, 1.15, 1.3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_that_grows_past_the_others_is_seen_at_the_record_after(kind, growth):
    for seed in range(2):
        torch.manual_seed(seed)
        conv = nn.Conv2d(4, 4, 3, padding=1, bias=False, **KINDS[kind])
        basis, state = torch.eye(144).reshape(144, 4, 6, 6), [None]
        with torch.no_grad():
            conv.weight[:1] *= 2
            for record in range(16):
                conv.weight[-1:] *= growth if record >= 4 else 1
                settings = (conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
                norm, state = operator_norms([Convolution(conv.weight, (4, 6, 6), *settings)], state)
                dense = torch.linalg.matrix_norm(conv(basis).flatten(1).double(), 2).item()
                assert dense * 0.99 < norm.item() <= dense * (1 + 1e-5)
