"""Whether a layer's output is the input of a nonlinearity: this defines the layers "before the nonlinearity"."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import FEEDS, Column, pa


def as_row(known: list[Tensor]) -> Tensor:
    """Return one number for each layer, 0 or 1, as a row, ``(1, layers)``."""
    return torch.stack(known).unsqueeze(0)


FEEDS_NONLINEARITY = Metric(
    "feeds_nonlinearity",
    "nonlinearities",
    FEEDS,
    as_row,
    (
        Column(
            FEEDS,
            "1",
            "1 where a relu, gelu, tanh, ... is given the output, directly or through sums, products, pooling, views;"
            " 0 where another layer is; null of the last layer, and in compiled and checkpointed parts",
            "autograd graph of a training pass",
            type=pa.int8(),
        ),
    ),
    min_steps_between=1000,
)
