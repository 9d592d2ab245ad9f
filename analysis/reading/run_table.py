"""The runs of a store as a table: one row per run, one column per key of the configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.reading.files.local_files import left_out
from analysis.reading.selection import Patterns, abbreviated
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import load, records
from probes import schema
from probes.schema.stored_json import stored_json

_STORED = {schema.RUN, *(column.name for column in schema.RUNS_COLUMNS)}


def runs(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return one row per run: status, last step, device, versions and each key of its configuration.

    A nested configuration gives dotted columns (``optimizer.momentum``). A key that some runs lack is null there. A key
    named like one of the table's own columns becomes ``config_<key>``. A list becomes its JSON text, ``[0.9, 0.999]``,
    which can be compared and used to group rows. A run without a row in table ``runs`` has nulls. A text of a run's row
    that is not JSON is null, with a warning that names the run.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store is empty, or no run matches.
    """
    opened = Store.open(store)
    table = _readable(opened.retrying(lambda: _rows(opened, runs)))
    settings = pd.DataFrame([config_of(row) for row in records(table)], index=table.index)
    settings = settings.rename(columns={key: f"config_{key}" for key in settings.columns if key in _STORED})
    settings = settings.loc[:, ~settings.columns.duplicated()]
    return pd.concat([table.drop(columns="config", errors="ignore"), settings], axis="columns")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run, with null in place of a text that is not the expected JSON."""
    repeated = table[schema.RUN].duplicated()
    for run in table.loc[repeated, schema.RUN].unique():
        left_out(f"row of run {run}", "it is not the first of this run")
    table = table[~repeated].reset_index(drop=True)
    for name, kind in (("config", dict), ("versions", dict), ("gaps", list)):
        if name in table:
            texts = zip(table[schema.RUN], table[name], strict=True)
            table[name] = pd.Series([_sound(run, name, text, kind) for run, text in texts], table.index, dtype=object)
    return table


def _sound(run: str, name: str, text: Any, kind: type) -> str | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        value = stored_json(text, kind)
    except ValueError as problem:
        left_out(f"{name} of run {run}", f"it {problem}")
        return None
    if kind is list and not all(isinstance(one, dict) for one in value):
        return json.dumps([one for one in value if isinstance(one, dict)])
    return text


def _rows(store: Store, runs: Patterns) -> pd.DataFrame:
    """Return table ``runs``, with a row of nulls for each run that has rows in other tables only."""
    present = {rows.run for rows in store.rows(schema.RUNS, runs)}
    others = [run for run in store.run_ids(runs) if run not in present] if store.tables() else []
    lacking = [run for run in others if any(store.rows(table, run) for table in schema.TABLES)]
    if lacking and not present:
        nothing = schema.arrow_schema(schema.RUNS, schema.RUNS_COLUMNS).empty_table().to_pandas()
        return nothing.reindex(range(len(lacking))).assign(**{schema.RUN: lacking})
    table = load(store, schema.RUNS, runs=runs)
    table[schema.RUN] = table[schema.RUN].astype(str)
    if not lacking:
        return table
    every = pd.DataFrame({schema.RUN: sorted([*present, *lacking])})
    return every.merge(table, on=schema.RUN, how="left")


def with_settings(
    table: pd.DataFrame, store: AnyStore, settings: Sequence[str], *, optional: bool = False
) -> pd.DataFrame:
    """Return a table with settings of each row's run as further columns.

    Args:
        table: Any table with a column ``run``.
        store: The store of the runs.
        settings: Keys of the configuration, such as ``norm`` or ``learning_rate``.
        optional: Whether a setting that no run has becomes a column of nulls.

    Raises:
        ValueError: No run has one of the settings, and they are not optional; the message lists the valid names.
    """
    known = runs(store)
    missing = [name for name in settings if name not in known]
    if missing and not optional:
        has = abbreviated([name for name in known.columns if name not in _STORED])
        raise ValueError(f"no run has the setting {', '.join(missing)} in its configuration; there are: {has}")
    known = known.assign(**dict.fromkeys(missing))[[schema.RUN, *settings]]
    return table.astype({schema.RUN: str}).merge(known, on=schema.RUN, how="left")


def config_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the flat configuration of one stored run; empty if it has none."""
    text = row.get("config")
    if not isinstance(text, str) or not text:
        return {}
    return _flat(stored_json(text, dict))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _hashable(value)
    return flat


def _hashable(value: Any) -> Any:
    """Return a list as its JSON text, and a word for a number that JSON lacks, such as NaN, as this number."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return schema.NONFINITE.get(value, value) if isinstance(value, str) else value
