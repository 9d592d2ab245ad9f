"""The choices of a router of experts: ``torch.topk`` of scores, a column for each expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.hooks.functions.attention_calls import arguments, check
from probes.metrics.router import ExpertSums, expert_sums

_TOPK = ("input", "k", "dim")
ROUTER_FUNCTIONS = frozenset({torch.topk, Tensor.topk})


def router_part(
    module: nn.Module, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
) -> ExpertSums | None:
    """Return the sums of a router's call; None of any other function, and of a choice that does not choose experts.

    A router is a module that has, or whose child has, a matrix with a row for each of the scores. A loss that the model
    computes from all routers' scores is no router.

    Raises:
        ValueError: The tensors are sharded.
    """
    if function not in ROUTER_FUNCTIONS:
        return None
    given = arguments(_TOPK, args, kwargs)
    scores, dim = given["input"], given.get("dim", -1)
    if scores.ndim < 2 or dim not in (-1, scores.ndim - 1) or not scores.is_floating_point():
        return None
    check(scores)
    experts = scores.shape[-1]
    near = [each for part in (module, *module.children()) for each in part._parameters.values() if each is not None]
    if not any(parameter.ndim == 2 and len(parameter) == experts for parameter in near):
        return None
    return expert_sums(scores.detach().reshape(-1, experts), result[1].reshape(-1, result[1].shape[-1]))
