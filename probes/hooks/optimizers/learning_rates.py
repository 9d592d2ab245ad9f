"""The learning rate of each parameter: that of the optimizer's group it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source
from probes.ranks import Ranks

GROUP_LR = "group_lr"  # a source: one number a parameter


def learning_rate_source(optimizers: Sequence[Any], ranks: Ranks) -> Source:
    """Return the source of the learning rates of these optimizers' groups; a group without ``lr`` has none."""

    def read(observation: Observation) -> Reading:
        rates = {key: rate for optimizer in optimizers for key, rate in _rates(optimizer).items()}
        found = {
            index: rates[id(parameter.value)]
            for index, parameter in observation.parameters.items()
            if id(parameter.value) in rates and ranks.owns(index)
        }
        return Reading(list(found), list(found.values()))

    return read


def _rates(optimizer: Any) -> dict[int, Tensor]:
    rates: dict[int, Tensor] = {}
    for group in getattr(optimizer, "param_groups", ()):
        if group.get("lr") is not None:
            # A copy: an optimizer that can be captured changes its tensor in place.
            rate = torch.as_tensor(group["lr"], dtype=torch.float64).detach().clone()
            rates |= {id(parameter): rate for parameter in group["params"]}
    return rates
