"""The provenance of a figure as JSON: store, runs, columns, options and versions, without dates and paths."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any

import pandas as pd

from analysis.plotting.figure_spec import Prepared
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import records
from probes import schema

_PACKAGES = ("meandrift", "matplotlib", "numpy", "pandas", "pyarrow")


def provenance(prepared: Prepared, store: AnyStore) -> dict[str, Any]:
    """Return which store, runs, steps, columns, options and versions a figure comes from.

    ``config_hash`` is the SHA-256 of the runs' configurations. ``table_hash`` is the SHA-256 of the prepared table as
    :func:`table_text`. The same store gives the same hash on any machine.
    """
    spec, table = prepared.spec, prepared.table
    return {
        "figure": spec.name,
        "paper": spec.paper,
        "store": Store.open(store).name,
        "runs": sorted(prepared.runs[schema.RUN]),
        "steps": _steps(table),
        "layers": [str(name) for name in dict.fromkeys(table[schema.LAYER])] if schema.LAYER in table else [],
        "options": asdict(spec),
        **prepared.naming,
        "columns": {
            name: {"unit": column.unit, "formula": column.formula, "reference": column.reference}
            for name, column in sorted(prepared.columns.items())
        },
        "config_hash": config_hash(prepared.runs),
        "table_rows": len(table),
        "table_hash": table_hash(table),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    return ("python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)


def _steps(table: pd.DataFrame) -> dict[str, int]:
    if schema.STEP not in table or table.empty:
        return {}
    steps = table[schema.STEP]
    return {"first": int(steps.min()), "last": int(steps.max()), "count": int(steps.nunique())}


def config_hash(runs: pd.DataFrame) -> str:
    """Return the SHA-256 of the runs' configurations, which depends neither on their order nor on machine or time."""
    stored = {column.name for column in schema.RUNS_COLUMNS}
    settings = runs.drop(columns=[name for name in runs.columns if name in stored])
    rows = sorted(json.dumps(_plain(row), sort_keys=True, default=str) for row in records(settings))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items() if not (isinstance(value, float) and math.isnan(value))}


def table_text(table: pd.DataFrame) -> str:
    """Return a table as CSV with nine significant digits, NaN written out: the same text from the same store."""
    return table.to_csv(index=False, float_format="%.9g", na_rep="nan", lineterminator="\n")


def table_hash(table: pd.DataFrame) -> str:
    """Return the SHA-256 of :func:`table_text`."""
    return hashlib.sha256(table_text(table).encode()).hexdigest()


def provenance_text(prepared: Prepared, store: AnyStore) -> str:
    """Return :func:`provenance` as indented JSON."""
    return json.dumps(provenance(prepared, store), indent=2, sort_keys=False, default=str) + "\n"
