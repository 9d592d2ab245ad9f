"""``grad_near_sparsity`` guessed the rms from octave counts: one tensor in six had its threshold an octave off.

The dictionary's formula is the share with ``|g| < 2^(floor(log2 rms) - 10)``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn


@pytest.mark.parametrize("scale", [1.0, 0.95, 0.8, 0.7, 1e-12])
def test_the_threshold_is_that_of_the_rms_itself(record, scale):
    model, x = nn.Linear(400, 250, bias=False), torch.randn(1, 400) * scale
    gradient = torch.randn(250) ** 3  # the loss is linear: the gradient is the outer product of the two
    found = record(model, [lambda m: (m(x) * gradient).sum()], metrics=["gradients"])
    true = torch.outer(gradient, x[0]).double().numpy()
    rms = np.sqrt(np.square(true).mean())
    right = np.mean(np.abs(true) < 2.0 ** (np.floor(np.log2(rms)) - 10))
    assert right > 0
    assert found["Linear"]["grad_near_sparsity"] == pytest.approx(right, rel=1e-6)
