"""Arms of a comparison: groups of runs that differ in the seed alone, and their names.

Runs whose configurations differ in the seed alone are one arm; their spread is drawn as a band. Runs with another
difference are never averaged. A run without a configuration is an arm of its own.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from analysis.reading.tables import records
from analysis.summaries.norm_names import NORM_ORDER, norm_label
from probes import schema

ARM, NORM, ARM_ORDER = "arm", "norm", "arm_order"
# Settings that say how or where a run was made, and that do not change the computation.
NOT_COMPARED = {
    *("seed", "run", "store", "device", "config_device", "data_dir", "every", "include", "exclude"),
    *("probe_images", "bracket_every", "landscape_every", "not_measured"),
    *("records", "save_means", "commit"),
}

_TOLD_SINGLY = 2  # most settings that only some runs have and that are named singly


def arms(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run: the arm it belongs to, the arm's norm, and the arm's place in the order of drawing.

    An arm is named by its norm ("MSN"). Settings that differ between arms of one norm follow: "MSN, learning rate 0.1".
    If other runs lack three or more of these settings, only the number of them follows. Without a norm, the differing
    settings are the name, or else the run id.

    Args:
        runs: :func:`analysis.runs`: ``run`` and one column per setting.
    """
    settings = [_settings(row) for row in records(runs)]
    differing = _differing(settings)
    table = pd.DataFrame({schema.RUN: runs[schema.RUN].to_list()})
    table[NORM] = [str(setting.get("norm", "")) for setting in settings]
    names = _names(settings, differing)
    table[ARM] = [name or run for name, run in zip(names, table[schema.RUN], strict=True)]
    return _ordered(table)


def arms_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the arms of a table in drawing order, a row each: ``arm_order``, ``arm``, ``norm``."""
    return table[[ARM_ORDER, ARM, NORM]].drop_duplicates().sort_values(ARM_ORDER, ignore_index=True)


def _settings(row: dict[str, Any]) -> dict[str, str]:
    own = {schema.RUN, *(column.name for column in schema.RUNS_COLUMNS)}
    kept = {k: v for k, v in row.items() if k not in own and k.rpartition(".")[2] not in NOT_COMPARED}
    return {key: _text(value) for key, value in kept.items() if not _absent(value)}


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"  # all digits: runs that differ in the last are not averaged
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _differing(settings: list[dict[str, str]]) -> list[str]:
    """Return the settings, the norm aside, that differ between two runs of the same norm."""
    keys = dict.fromkeys(key for setting in settings for key in setting if key != "norm")
    norms = dict.fromkeys(setting.get("norm") for setting in settings)
    return [
        key for key in keys if any(len({s.get(key) for s in settings if s.get("norm") == norm}) > 1 for norm in norms)
    ]


def _names(settings: list[dict[str, str]], differing: list[str]) -> list[str]:
    """Return the name of each run's arm: "MSN, depth 40", or "MSN, 11 further settings" for many that others lack.

    A later version of a program writes settings that its earlier runs do not have. Each of them says little.
    """
    added = [key for key in differing if len({setting[key] for setting in settings if key in setting}) == 1]
    told = [key for key in differing if key not in added or len(added) <= _TOLD_SINGLY]
    short = [_name(setting, told, further=[key for key in added if key not in told]) for setting in settings]
    whole = [_name(setting, differing) for setting in settings]
    return short if len(set(short)) == len(set(whole)) else whole


def _name(setting: dict[str, str], told: list[str], *, further: list[str] | None = None) -> str:
    named = [norm_label(setting["norm"])] if "norm" in setting else []
    named += [f"{key.replace('_', ' ')} {setting[key]}" for key in told if key in setting]
    count = sum(key in setting for key in further or ())
    return ", ".join([*named, f"{count} further settings"] if count else named)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    def place(row: Any) -> tuple[int, str, str]:
        known = NORM_ORDER.index(row.norm) if row.norm in NORM_ORDER else len(NORM_ORDER)
        return known, row.norm, row.arm

    order = list(dict.fromkeys(row.arm for row in sorted(table.itertuples(), key=place)))
    table[ARM_ORDER] = [order.index(arm) for arm in table[ARM]]
    return table
