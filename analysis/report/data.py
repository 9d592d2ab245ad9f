"""The content of the report page as plain data: runs, settings, findings, charts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings import (
    AFFECTED,
    CAUSE,
    FINDINGS,
    FROM_STEP,
    KIND,
    LAYER_COUNT,
    MESSAGE,
    REMEDY,
    SEVERITY,
    TO_STEP,
    findings,
)
from analysis.findings.finding import COLUMN
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import records
from analysis.report.charts import charts, histograms
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms
from probes import schema
from probes.schema import LAYER, RUN


def report_data(store: AnyStore, *, runs: Patterns = None) -> dict[str, Any]:
    """Return all that the page needs, ready for JSON; the same from the same store.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or no run matches.
    """
    opened = Store.open(store)
    table = read_runs(opened, runs=runs)
    chosen = list(table[RUN])
    drawn, absent = charts(opened, chosen)
    return {
        "store": opened.name,
        "runs": _runs(table, arms(table)),
        "settings": settings_table(table),
        "findings": _findings(opened, chosen),
        "kinds": list(FINDINGS),
        "charts": drawn,
        "histograms": histograms(opened, chosen),
        "absent": absent,
    }


def settings_table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the settings by whether runs differ in them: ``same`` as pairs, ``different`` with a value a run."""
    stored = {RUN, *(column.name for column in schema.RUNS_COLUMNS)}
    texts = {name: [_text(value) for value in runs[name]] for name in runs.columns if name not in stored}
    return {
        "same": [[name, values[0]] for name, values in texts.items() if len(set(values)) == 1],
        "different": [[name, values] for name, values in texts.items() if len(set(values)) > 1],
    }


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _runs(table: pd.DataFrame, named: pd.DataFrame) -> list[dict[str, Any]]:
    appearances = arm_appearances(named)
    return [
        {
            "id": row[RUN],
            "arm": arm[ARM],
            "order": int(arm[ARM_ORDER]),
            "norm": arm[NORM],
            "color": appearances[arm[ARM]].color,
            "dashes": list(appearances[arm[ARM]].dashes[1]),
            "status": _text(row["status"]),
            "lastStep": None if pd.isna(row["last_step"]) else int(row["last_step"]),
            "device": _text(row["device"]),
            "gaps": json.loads(row["gaps"]) if isinstance(row["gaps"], str) else [],
        }
        for row, arm in zip(records(table), records(named), strict=True)
    ]


def _findings(store: Store, runs: Patterns) -> list[dict[str, Any]]:
    return [
        {
            **{key: row[key] for key in (RUN, KIND, SEVERITY, LAYER, MESSAGE, CAUSE, REMEDY, COLUMN, AFFECTED)},
            "layers": int(row[LAYER_COUNT]),
            "from": int(row[FROM_STEP]),
            "to": int(row[TO_STEP]),
        }
        for row in records(findings(store, runs=runs))
    ]
