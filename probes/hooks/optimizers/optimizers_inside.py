"""Finds the optimizers that make the steps, inside wrappers such as those of accelerate, Lightning and Lookahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor


def as_optimizers(given: Any) -> list[Any]:
    """Return a user's ``optimizer=`` argument (one optimizer, several, or None) as a list.

    An optimizer is anything that has ``step`` and ``param_groups``, whether or not it derives from torch's.

    Raises:
        ValueError: An entry is no optimizer.
    """
    if given is None:
        return []
    if is_optimizer(given):
        return [given]
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for one in several:
        if not is_optimizer(one):
            raise ValueError(
                f"optimizer: {type(one).__name__} is not an optimizer: expected one with step() and param_groups, a"
                " list of such, or None."
            )
    return several


def is_optimizer(value: Any) -> bool:
    """Return whether a value has the attributes that all optimizers have."""
    return callable(getattr(value, "step", None)) and hasattr(value, "param_groups")


def stepping_optimizers(given: Sequence[Any]) -> list[Any]:
    """Return the optimizers that make the steps of the passed optimizers, each once.

    A wrapper calls the step of an optimizer that it holds as an attribute, or of several in a list or dict. When the
    innermost optimizer steps, it uses the gradient as it then is. Under SAM this is the gradient of the second pass.
    Under accelerate the innermost optimizer steps only if the step is not skipped.
    """
    found: dict[int, Any] = {}
    for outer in given:
        for one in _innermost(outer, {id(outer)}):
            found.setdefault(id(one), one)
    return list(found.values())


def _innermost(optimizer: Any, seen: set[int]) -> Iterator[Any]:
    inner = [one for one in _held_by(optimizer) if id(one) not in seen]
    seen.update(id(one) for one in inner)
    if not inner:
        yield optimizer
    for one in inner:
        yield from _innermost(one, seen)


def _held_by(optimizer: Any) -> Iterator[Any]:
    for value in list(getattr(optimizer, "__dict__", {}).values()):
        if isinstance(value, (list, tuple)):
            yield from filter(is_optimizer, value)
        elif isinstance(value, dict):
            yield from filter(is_optimizer, value.values())
        elif is_optimizer(value):
            yield value


def first_learning_rate(optimizers: Sequence[Any]) -> dict[str, Any]:
    """Return the learning rate of the first group of the first optimizer as ``lr``; an empty dict if it has none.

    A rate that is a tensor is copied: schedulers change it in place.
    """
    groups = optimizers[0].param_groups if optimizers else []
    rate = groups[0].get("lr") if groups else None
    if rate is None:
        return {}
    return {"lr": rate.detach().clone() if isinstance(rate, Tensor) else rate}
