"""Checks at attaching: parameters that no optimizer trains, that two train, or that are frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn

from probes.gaps import Gaps
from probes.hooks.optimizers.optimizers_inside import stepping_optimizers
from probes.model.parameters import Parameter

_NAMED = 5


def check_parameters(
    parameters: Sequence[Parameter], given: Sequence[Any], gaps: Gaps, *, of: Sequence[nn.Module]
) -> None:
    """Warn of trained parameters that no optimizer holds, or that two hold; note the frozen ones in the run's row.

    Without an optimizer nothing is checked. Modules that are not observed are not checked either. If an optimizer
    inside a wrapper holds none of the parameters, it may hold copies of them (ZeRO, master weights in float32). This is
    only noted.

    Args:
        parameters: All parameters of the model.
        given: The optimizers as the user passed them.
        gaps: Findings are reported here.
        of: The observed modules.
    """
    if not given:
        return
    observed = {id(module) for module in of}
    mine = [one for one in parameters if id(one.module) in observed]
    trained = [one for one in mine if one.value is not None and one.value.requires_grad]
    frozen = [one for one in mine if one.value is not None and not one.value.requires_grad]
    stepping = stepping_optimizers(given)
    times = Counter(place for optimizer in stepping for place in _held_by(optimizer))
    homeless = [one for one in trained if id(one.value) not in times.keys() | _held_by(*given)]
    twice = [one for one in trained if times[id(one.value)] > 1]
    if not trained and frozen:
        gaps.warn(what="parameters", why="none requires a gradient: nothing is trained. Call requires_grad_(True)")
    elif frozen:
        gaps.note(what="parameters", why=f"frozen (requires_grad is False) at attaching: {_listed(frozen)}")
    if homeless and len(homeless) == len(trained):
        inside = {id(one) for one in stepping} != {id(one) for one in given}
        (gaps.note if inside else gaps.warn)(
            what="parameters",
            why="the optimizer holds none of the model's: it was made for a copy of the model, or before parameters"
            " were replaced. Make it from model.parameters() when the model is final",
        )
    elif homeless:
        gaps.warn(
            what="parameters",
            why=f"in no optimizer, though they require a gradient: {_listed(homeless)}. They are never updated: give"
            " the probe every optimizer, or call requires_grad_(False) if it is meant",
        )
    if twice:
        gaps.warn(
            what="parameters", why=f"held by two optimizers, so that each step moves them twice: {_listed(twice)}"
        )


def _held_by(*optimizers: Any) -> set[int]:
    groups = [group for optimizer in optimizers for group in getattr(optimizer, "param_groups", ())]
    return {id(parameter) for group in groups for parameter in group["params"]}


def _listed(parameters: Sequence[Parameter]) -> str:
    more = f" and {len(parameters) - _NAMED} more" if len(parameters) > _NAMED else ""
    return ", ".join(one.name for one in parameters[:_NAMED]) + more
