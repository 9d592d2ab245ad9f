"""A grid of configurations: every combination of the values of each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, get_type_hints

from dynamics.classifier.config import RunConfig

WHOLE = frozenset({"include", "exclude"})  # settings whose value is itself a list: commas do not separate values
NAMED = frozenset(
    {"model", "norm", "definition", "scope", "learning_rate", "seed"}
)  # settings that are part of RunConfig.name


def parse_axes(options: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values of each setting from comma-separated text: ``{"seed": "0,1"}`` becomes ``{"seed": [0, 1]}``.

    Raises:
        ValueError: A value is not of the setting's type, a value occurs twice, or there is no value.
    """
    types = get_type_hints(RunConfig)
    return {name: _values(name, text, types[name]) for name, text in options.items()}


def grid(base: RunConfig, axes: Mapping[str, Sequence[Any]]) -> dict[str, RunConfig]:
    """Return the configuration of each combination, by a distinct run id. The last axis varies fastest.

    Args:
        base: The settings that all combinations share.
        axes: The values of each setting: ``{"norm": ["bn", "sn"], "seed": [0, 1]}``.

    Raises:
        ValueError: A combination is out of range.
    """
    configs = [replace(base, **dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    varying = [name for name, values in axes.items() if len(values) > 1 and name not in NAMED]
    return {
        "-".join([config.name, *(f"{name}{getattr(config, name)}" for name in varying)]): config for config in configs
    }


def _values(name: str, text: str, kind: type) -> list[Any]:
    words = [text] if name in WHOLE else [word.strip() for word in text.split(",")]
    try:
        values = [_BOOLEANS[word] if kind is bool else kind(word) for word in words]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name} {text!r}: expected {_KINDS[kind]}, commas between.") from error
    if len(set(values)) < len(values):
        raise ValueError(f"{name} {text!r}: expected each value once.")
    return values


_BOOLEANS = {"yes": True, "no": False}
_KINDS = {int: "whole numbers", float: "numbers", bool: "yes or no", str: "words"}
