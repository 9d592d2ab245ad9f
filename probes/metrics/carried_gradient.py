"""Whether a gradient was not 0 when the first backward pass of a step added to it, as without ``zero_grad``."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column, pa


def carried(flags: list[Tensor]) -> Tensor:
    """Return 1 for each layer whose gradient was carried over, else 0: ``(1, layers)`` float64."""
    return torch.stack(flags).reshape(1, -1)


CARRIED_GRADIENT = Metric(
    "carried_gradient",
    "gradients",
    "carried_gradient",
    carried,
    (
        Column(
            "grad_carried",
            "1",
            "1 where the step's first backward pass found a gradient that is not 0, else 0",
            "gradient of the parameter, its first 4,096 entries",
            type=pa.int8(),
        ),
    ),
)
