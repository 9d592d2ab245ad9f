"""The state of each layer: frozen or trained, its mode, its group of the optimizer, its number type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.schema import Column, pa


def state_columns(rows: Sequence[Tensor] | Tensor) -> Tensor:
    """Return the rows of the layers side by side: ``(4, layers)`` float64; NaN where a layer has no such state."""
    return (rows if isinstance(rows, Tensor) else torch.stack(list(rows))).mT


_PARAMETER = "parameter of the layer's weight"

LAYER_STATE = Metric(
    "layer_state",
    "state",
    "layer_state",
    state_columns,
    (
        Column("requires_grad", "1", "1 where it is trained, 0 where it is frozen", _PARAMETER, type=pa.int8()),
        Column("training", "1", "1 in training mode, 0 in evaluation mode", "module", type=pa.int8()),
        Column(
            "optimizer_group",
            "1",
            "place among the groups of all optimizers, from 0; null where none holds it",
            _PARAMETER,
            type=pa.int16(),
        ),
        Column(
            "weight_epsilon",
            "1",
            "distance from 1 to the next number of its type: 1.2e-7 float32, 9.8e-4 float16, 7.8e-3 bfloat16",
            _PARAMETER,
        ),
    ),
)
