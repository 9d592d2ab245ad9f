"""A plan: the named arms of an experiment and the seeds of each, read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamics.classifier.config import RunConfig

SHIPPED = Path(__file__).parent
_KEYS = {"title": str, "prefix": str, "seeds": list, "base": dict, "arms": dict}
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Plan:
    """The arms of an experiment: configurations that differ in the settings under study, each with several seeds.

    Attributes:
        name: The file's name without its ending.
        title: The comparison, the network and the data set.
        prefix: First word of every run's id. Plans with the same prefix share the runs of their common arms.
        base: The settings that all arms share.
        arms: The further settings of each arm. ``{seed}`` in a string is replaced by the run's seed.
        seeds: The seeds of each arm.
    """

    name: str
    title: str
    prefix: str
    base: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]

    def runs(self, options: Mapping[str, Any] | None = None) -> dict[str, RunConfig]:
        """Return the configuration of each run by its id, ``PREFIX-ARM-sSEED``, the arms of one seed together.

        Args:
            options: Settings that override those of the plan, for a shorter version.

        Raises:
            ValueError: A setting is unknown or out of range; the message names the arm.
        """
        return {
            f"{self.prefix}-{arm}-s{seed}": self._config(arm, seed, options or {})
            for seed in self.seeds
            for arm in self.arms
        }

    def _config(self, arm: str, seed: int, options: Mapping[str, Any]) -> RunConfig:
        settings = {**self.base, **self.arms[arm], **options, "seed": seed}
        filled = {k: v.replace("{seed}", str(seed)) if isinstance(v, str) else v for k, v in settings.items()}
        try:
            return RunConfig.from_dict(filled)
        except (ValueError, TypeError) as error:
            raise ValueError(f"plan {self.name}, arm {arm!r}: {error}") from error


def load_plan(name: str) -> Plan:
    """Return the plan in a file, or the plan of that name that ships with the package.

    Raises:
        ValueError: There is no such file or name, or the file is no plan. The message states the fault.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        shipped = ", ".join(shipped_plans())
        raise ValueError(f"plan {name!r}: no such file; expected a path that ends in .toml, or one of {shipped}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of 5,000 digits, or deep nesting
        raise ValueError(f"plan {path}: {error}") from error
    return _plan(path.stem, table)


def shipped_plans() -> list[str]:
    """Return the names of the plans that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _plan(name: str, table: Mapping[str, Any]) -> Plan:
    if unknown := sorted(set(table) - set(_KEYS)):
        raise ValueError(f"plan {name}: unknown keys {', '.join(unknown)}; expected {', '.join(_KEYS)}.")
    for key, kind in _KEYS.items():
        if not isinstance(table.get(key, kind()), kind):
            raise ValueError(f"plan {name}: {key} is {table[key]!r}; expected a {kind.__name__}.")
    plan = Plan(
        name,
        table.get("title", name),
        table.get("prefix", name),
        table.get("base", {}),
        table.get("arms", {}),
        table.get("seeds", [0]),
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """Refuse a plan without arms or seeds, or with names that cannot be part of a run id."""
    if not plan.arms or not all(isinstance(settings, dict) for settings in plan.arms.values()):
        raise ValueError(f"plan {plan.name}: expected a table [arms.NAME] for each arm.")
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) for seed in plan.seeds)
    if not plan.seeds or not whole or len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"plan {plan.name}: seeds {plan.seeds!r}; expected whole numbers, each once.")
    for word in (plan.prefix, *plan.arms):
        if not _WORD.fullmatch(word):
            raise ValueError(
                f"plan {plan.name}: {word!r} cannot be part of a run id; expected letters, digits, . _ and -."
            )
    if own := sorted({"seed"} & ({*plan.base} | {key for arm in plan.arms.values() for key in arm})):
        raise ValueError(
            f"plan {plan.name}: {', '.join(own)} cannot be set for an arm; expected seeds = [...] above the arms."
        )
