"""The effective learning rate of a layer, and the ratio of the lengths of its step and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.metrics.foreach import differences
from probes.metrics.l2_norm import l2_norms
from probes.metrics.metric import Metric
from probes.schema import Column

_EVERY_NTH = 10  # every tenth record


def effective_learning_rates(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return ``lr / |W|^2`` of each layer, ``(1, layers)`` float64.

    It applies to a layer whose output does not depend on the length of its weight, as before a norm. The step then
    turns the weight by about ``lr / |W|^2`` times the gradient at ``|W| = 1``. A weight of 0 gives infinity, NaN gives
    NaN. Source: van Laarhoven 2017.
    """
    rates, weights = (list(each) for each in zip(*pairs, strict=True))
    return (torch.stack(rates).double() / l2_norms(weights).square()).unsqueeze(0)


def step_lengths(steps: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return ``|W' - W| / |g|`` of each layer, ``(1, layers)`` float64.

    Args:
        steps: Parameter before and after the step, and ``|g|``. ``|g| = 0`` gives infinity, or NaN if the step is 0.
    """
    before, after, lengths = (list(each) for each in zip(*steps, strict=True))
    moved = differences([each.reshape(-1) for each in after], [each.reshape(-1) for each in before])
    return (l2_norms(moved) / torch.stack(lengths)).unsqueeze(0)


EFFECTIVE_LR = Metric(
    "effective_lr",
    "optimizer",
    "rate_and_parameter",
    effective_learning_rates,
    (
        Column(
            "effective_lr",
            "1",
            "lr / |W|^2, lr of the optimizer's group; of weights whose length the output does not depend on",
            "parameter, before the optimizer step",
            "van Laarhoven 2017; Hoffer et al. 2018",
        ),
    ),
    every_nth_record=_EVERY_NTH,
)
STEP_LENGTH = Metric(
    "step_length",
    "optimizer",
    "step_and_gradient",
    step_lengths,
    (
        Column(
            "step_per_gradient",
            "1",
            "|W' - W| / |g|: the learning rate of the plain gradient step of this length",
            "parameter, before and after the optimizer step, and the gradient that it uses",
        ),
    ),
    every_nth_record=_EVERY_NTH,
    after_update=True,
)
