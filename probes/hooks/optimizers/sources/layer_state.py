"""The state of each layer: whether it is trained, its mode, its group of an optimizer and its number type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from probes.measuring.observation import Observation, Reading, Source
from probes.model.layer import Layer, raw_parameter
from probes.ranks import Ranks

LAYER_STATE = "layer_state"  # a source: a row of four numbers for each layer


def layer_state_source(optimizers: Sequence[Any], ranks: Ranks) -> Source:
    """Return the source of ``[requires_grad, training, optimizer group, epsilon]``; NaN stands for no value.

    Args:
        optimizers: The optimizers that make the steps. Their groups are numbered consecutively.
        ranks: Which layers this process measures.
    """

    def read(observation: Observation) -> Reading:
        groups = _places_of_groups(optimizers)
        found = {index: _row(layer, groups) for index, layer in observation.layers.items() if ranks.owns(index)}
        rows = torch.tensor(list(found.values()), dtype=torch.float64, device="cpu")  # whatever the default device is
        return Reading(list(found), rows.reshape(-1, 4))

    return read


def _places_of_groups(optimizers: Sequence[Any]) -> dict[int, int]:
    groups = [group for optimizer in optimizers for group in getattr(optimizer, "param_groups", ())]
    return {id(parameter): place for place, group in enumerate(groups) for parameter in group["params"]}


def _row(layer: Layer, groups: dict[int, int]) -> tuple[float, float, float, float]:
    parameter = raw_parameter(layer)
    training = float(layer.module.training)
    if parameter is None:
        return math.nan, training, math.nan, math.nan
    group = groups.get(id(parameter), math.nan)
    return float(parameter.requires_grad), training, group, _epsilon(parameter.dtype)


@cache
def _epsilon(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else math.nan
