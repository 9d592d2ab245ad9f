"""The runs of a store as a table: one row per run, one column per key of the configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.reading.selection import Patterns, abbreviated
from analysis.reading.store import AnyStore
from analysis.reading.tables import load, records
from probes import schema

_STORED = {schema.RUN, *(column.name for column in schema.RUNS_COLUMNS)}


def runs(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return one row a run: status, last step, device, versions and each key of its configuration.

    A nested configuration gives dotted columns (``optimizer.momentum``). A key that some runs lack is null there. A key
    named like one of the table's own columns becomes ``config_<key>``.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store is empty, no run matches, or a configuration is not a JSON object.
    """
    table = load(store, schema.RUNS, runs=runs)
    table[schema.RUN] = table[schema.RUN].astype(str)
    settings = pd.DataFrame([config_of(row) for row in records(table)], index=table.index)
    settings = settings.rename(columns={key: f"config_{key}" for key in settings.columns if key in _STORED})
    return pd.concat([table.drop(columns="config", errors="ignore"), settings], axis="columns")


def with_settings(
    table: pd.DataFrame, store: AnyStore, settings: Sequence[str], *, optional: bool = False
) -> pd.DataFrame:
    """Return a table with settings of each row's run as further columns.

    Args:
        table: Any table with a column ``run``.
        store: Where the runs are.
        settings: Keys of the configuration, such as ``norm`` or ``learning_rate``.
        optional: Whether a setting that no run has becomes a column of nulls.

    Raises:
        ValueError: No run has one of the settings, and they are not optional; the message lists those there are.
    """
    known = runs(store)
    missing = [name for name in settings if name not in known]
    if missing and not optional:
        has = abbreviated([name for name in known.columns if name not in _STORED])
        raise ValueError(f"no run has the setting {', '.join(missing)} in its configuration; there are: {has}")
    known = known.assign(**dict.fromkeys(missing))[[schema.RUN, *settings]]
    return table.astype({schema.RUN: str}).merge(known, on=schema.RUN, how="left")


def config_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the flat configuration of one stored run; empty if none was given."""
    text = row.get("config")
    if not isinstance(text, str) or not text:
        return {}
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError(f"run {row[schema.RUN]!r}: its config is {text[:60]!r}; expected a JSON object")
    return _flat(config)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
