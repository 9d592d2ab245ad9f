"""Findings: NaN, exploding norms, vanishing gradients, dead channels and drift in the tables of runs.

One file a finding. A new finding is a file here, a line in ``FINDINGS`` and a test.
"""

from __future__ import annotations

import pandas as pd

from analysis.findings import dead_channels, exploding_norm, nonfinite_values, vanishing_gradient, weight_drift
from analysis.findings.finding import COLUMNS as COLUMNS
from analysis.findings.finding import FROM_STEP as FROM_STEP
from analysis.findings.finding import KIND as KIND
from analysis.findings.finding import MESSAGE as MESSAGE
from analysis.findings.finding import VALUE as VALUE
from analysis.findings.finding import Finding as Finding
from analysis.findings.finding import Thresholds as Thresholds
from analysis.findings.finding import no_findings
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields_if_any, load
from probes.schema import LAYER, LAYERS, RUN, STEPS

_ALL = (  # the gravest first
    nonfinite_values.FINDING,
    exploding_norm.FINDING,
    vanishing_gradient.FINDING,
    dead_channels.FINDING,
    weight_drift.FINDING,
)
FINDINGS: dict[str, Finding] = {finding.kind: finding for finding in _ALL}
KINDS = tuple(FINDINGS)


def findings(layers: pd.DataFrame, steps: pd.DataFrame, *, thresholds: Thresholds | None = None) -> pd.DataFrame:
    """Return all findings, a row for each run, kind and layer: the gravest kinds first, then by run and first step.

    A finding whose columns are not in the tables is not looked for.

    Args:
        layers: Table ``layers`` with any of the columns that findings need.
        steps: Table ``steps``, the rows in which the loss was measured; may be empty.
        thresholds: Levels above which a value is a finding; None takes the defaults.
    """
    limits = thresholds or Thresholds()
    parts = [finding.find(layers, steps, limits) for finding in FINDINGS.values()]
    table = pd.concat([part for part in parts if len(part)] or [no_findings()], ignore_index=True)
    severity = table[KIND].map({kind: place for place, kind in enumerate(KINDS)})
    ordered = table.assign(_severity=severity).sort_values(
        ["_severity", RUN, FROM_STEP], kind="stable", ignore_index=True
    )
    return ordered.drop(columns="_severity")


def by_run(found: pd.DataFrame) -> pd.DataFrame:
    """Return the first finding of each run and kind, with the number of layers that have it as column ``layers``."""
    counts = found.groupby([RUN, KIND], sort=False)[LAYER].transform("size").rename("layers")
    return found.assign(layers=counts).drop_duplicates([RUN, KIND], ignore_index=True)


def findings_of(store: AnyStore, *, runs: Patterns = None) -> pd.DataFrame:
    """Return :func:`findings` of a store. Only the columns that findings need are read.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None takes all runs.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No run of the store matches.
    """
    opened, tables = Store.open(store), {}
    for table in (LAYERS, STEPS):
        present = fields_if_any(opened, table, runs=runs)
        needed = dict.fromkeys(name for finding in FINDINGS.values() for name in finding.reads.get(table, ()))
        wanted = [name for name in needed if name in present]
        # A loss that was not measured is null, one that diverged is NaN: only the latter is a finding.
        measured = wanted if table == STEPS else []
        tables[table] = load(opened, table, columns=wanted, runs=runs, measured=measured) if wanted else pd.DataFrame()
    return findings(tables[LAYERS], tables[STEPS])
