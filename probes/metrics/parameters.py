"""Moments of each parameter and of its gradient, and the learning rate of its group: the table ``parameters``."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.metric import Metric
from probes.metrics.moments import moment_columns, moments
from probes.schema import PARAMETERS, Column


def learning_rates(rates: list[Tensor]) -> Tensor:
    """Return the learning rates as one row: ``(1, parameters)`` float64."""
    return torch.stack(rates).reshape(1, -1)


_PARAMETER = "parameter, as the optimizer updates it"

PARAMETER_MOMENTS = Metric(
    "parameter_moments", "weights", "parameter", moments, moment_columns("", _PARAMETER), table=PARAMETERS
)
PARAMETER_GRADIENT_MOMENTS = Metric(
    "parameter_grad_moments",
    "gradients",
    "parameter_gradient",
    moments,
    moment_columns("grad_", "gradient of the parameter, as the optimizer uses it"),
    table=PARAMETERS,
)
GROUP_LR = Metric(
    "group_lr",
    "weights",
    "group_lr",
    learning_rates,
    (Column("group_lr", "1", "learning rate of the optimizer's group that holds the parameter", _PARAMETER),),
    table=PARAMETERS,
)
