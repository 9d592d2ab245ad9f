"""The learning rate of each parameter and layer: the rate of its group in the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from probes.measuring.observation import Observation, Reading, Source
from probes.measuring.sources import read_tensors
from probes.model.layer import Layer, raw_parameter
from probes.ranks import Ranks

GROUP_LR = "group_lr"  # a source: one number for each parameter
RATE_AND_PARAMETER = "rate_and_parameter"  # a source: each layer's learning rate and parameter


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


def rate_and_parameter_source(optimizers: Sequence[Any], ranks: Ranks) -> Source:
    """Return the source of each layer's learning rate and trained parameter; a group without ``lr`` has none."""

    def read(observation: Observation) -> Reading:
        rates = {key: rate for optimizer in optimizers for key, rate in _rates(optimizer).items()}

        def held(layer: Layer) -> Tensor | None:
            parameter = raw_parameter(layer)
            return parameter.detach() if parameter is not None and id(parameter) in rates else None

        parameters = read_tensors(observation, held, ranks)
        found = {
            index: (rates[id(raw_parameter(observation.layers[index]))], parameter)
            for index, parameter in parameters.by_layer().items()
        }
        pairs = {index: (rate.to(tensor.device, non_blocking=True), tensor) for index, (rate, tensor) in found.items()}
        return Reading(list(pairs), list(pairs.values()), parameters.failures)

    return read


def _rates(optimizer: Any) -> dict[int, Tensor]:
    rates: dict[int, Tensor] = {}
    for group in getattr(optimizer, "param_groups", ()):
        if group.get("lr") is not None:
            # A copy: an optimizer that can be captured changes its tensor in place.
            rate = torch.as_tensor(group["lr"], dtype=torch.float64).detach().clone()
            rates |= {id(parameter): rate for parameter in group["params"]}
    return rates
