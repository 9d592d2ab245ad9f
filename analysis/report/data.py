"""The content of the report page as plain data: runs, settings, findings, columns, lines and distributions."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings import (
    AFFECTED,
    CAUSE,
    EXPLAINED_BY,
    FINDINGS,
    FROM_STEP,
    KIND,
    MESSAGE,
    REMEDY,
    SEVERITY,
    TO_STEP,
    checked,
)
from analysis.findings.finding import COLUMN
from analysis.findings.places import place
from analysis.plotting.panels.arm_curves import arm_appearances
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields_if_any, records
from analysis.report.blocks import Blocks, Wanted, blocks
from analysis.report.columns import DEFAULT_KEYS, ChartColumn, chart_columns, described, missing_defaults
from analysis.report.distributions import distributions
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM, arms
from probes import schema
from probes.schema import HISTOGRAMS, LAYER, LAYERS, RUN, SPECTRA, STEPS


@dataclass(frozen=True)
class Summary:
    """The content of a page before any line is read.

    Attributes:
        page: Runs, settings, findings and columns, ready for JSON.
        runs: The runs' ids, in the order of the page.
        columns: The columns that have a chart.
    """

    page: dict[str, Any]
    runs: list[str]
    columns: list[ChartColumn]


def report_data(store: AnyStore, *, runs: Patterns = None) -> dict[str, Any]:
    """Return all data of the page, ready for JSON; the same store gives the same data.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store is empty, or no run matches.
    """
    opened = Store.open(store)
    summary = summarised(opened, runs=runs)
    read = blocks(opened, lines_of(summary, summary.columns))
    return {**summary.page, **as_page(read), **_all_distributions(opened, summary)}


def summarised(store: Store, *, runs: Patterns = None, every: bool = False) -> Summary:
    """Return runs, settings, findings and columns.

    If ``every``, the columns are all numeric columns, else the defaults and the columns of findings.
    """
    table = read_runs(store, runs=runs)
    chosen = list(table[RUN])
    result = checked(store, runs=chosen)
    found = _findings(result.findings)
    present = {name: fields_if_any(store, name, runs=runs) for name in (LAYERS, STEPS)}
    columns = chart_columns(present, {finding["column"] for finding in found}, every=every)
    page = {
        "store": store.name,
        "live": False,
        "runs": _runs(table, arms(table)),
        "settings": settings_table(table),
        "findings": found,
        "notices": [asdict(notice) for notice in result.notices],
        "kinds": list(FINDINGS),
        "columns": [described(column, present[column.table][column.name], store.name) for column in columns],
        "absent": missing_defaults(present),
    }
    return Summary(page, chosen, columns)


def lines_of(summary: Summary, columns: Sequence[ChartColumn], **limits: int) -> Wanted:
    """Return which lines are read for some columns. A column that only findings need has the lines of their runs."""
    found = summary.page["findings"]
    runs_of = {
        column.key: {finding["run"] for finding in found if finding["column"] == column.name}
        for column in columns
        if column.key not in DEFAULT_KEYS and not summary.page["live"]
    }
    kept: dict[str, list[int]] = {}
    for finding in found:
        kept.setdefault(finding["run"], []).extend((finding["from"], finding["to"]))
    return Wanted(summary.runs, columns, runs_of, kept, **limits)


def as_page(read: Blocks) -> dict[str, Any]:
    """Return lines ready for JSON, with the names of each run's lines and the effect of thinning."""
    lists: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    of: dict[str, list[int]] = {LAYERS: [], STEPS: []}
    for run, named in read.names.items():
        for table, types in ((LAYERS, read.types[run]), (STEPS, [""] * len(named[STEPS]))):
            of[table].append(lists.setdefault((tuple(named[table]), tuple(types)), len(lists)))
    return {
        "names": {"lists": [list(names) for names, _ in lists], "types": [list(types) for _, types in lists], "of": of},
        "blocks": {key: base64.b64encode(block).decode() for key, block in read.columns.items()},
        "thinning": {"points": read.most, "thinned": read.thinned, "exact": read.exact},
    }


def _all_distributions(store: Store, summary: Summary) -> dict[str, Any]:
    found = summary.page["findings"]
    first = [layer for finding in found for layer in (finding["layer"], *finding["affected"][:1])]
    return {table: distributions(store, table, summary.runs, first=first) for table in (HISTOGRAMS, SPECTRA)}


def settings_table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the settings in which runs agree (``same``, pairs) or differ (``different``, with a value per run).

    The device counts as a setting.
    """
    stored = {RUN, *(column.name for column in schema.RUNS_COLUMNS)} - {"device"}
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
            "gaps": json.loads(row["gaps"]) if isinstance(row["gaps"], str) else [],
        }
        for row, arm in zip(records(table), records(named), strict=True)
    ]


def _findings(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{key: row[key] for key in (RUN, KIND, SEVERITY, LAYER, MESSAGE, CAUSE, REMEDY, COLUMN, AFFECTED)},
            "explainedBy": row[EXPLAINED_BY],
            "where": place(row[LAYER], row[AFFECTED]) or "whole run",
            "from": int(row[FROM_STEP]),
            "to": int(row[TO_STEP]),
        }
        for row in records(found)
    ]
