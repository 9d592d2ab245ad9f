"""Findings: what is wrong with a training, in which layer, since which step, with the likely cause and a remedy.

One file per finding. To add a finding:

1. Write a file named after its function, which takes the records of one run and the thresholds and yields evidence
   (:class:`analysis.findings.finding.Evidence`); compare across depth and with the past, never with the future.
2. Give it a level in :class:`analysis.findings.thresholds.Thresholds`, if it has one.
3. End the file with its ``FINDING``, and add that to ``_ALL`` here, graver findings first.
4. If it can lead to other kinds, or follow from them, add it to a family of :mod:`analysis.findings.causality`.
5. Add a fault that shows it to ``tests/analysis/findings/faults.py``, and its kind to ``docs/findings.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.findings import (
    accumulated_gradient,
    attention_growth,
    causes,
    dead_units,
    detached_layer,
    diverging_loss,
    eval_mode,
    exploding_gradient,
    frozen_layer,
    large_update,
    layer_not_updated,
    loss_plateau,
    loss_spike,
    no_gradient,
    nonfinite_values,
    nothing_updated,
    odd_scale,
    overflow,
    rank_collapse,
    rate_jump,
    replaced_weight,
    rounded_updates,
    saturated_units,
    small_update,
    spectral_explosion,
    unused_layer,
    vanishing_gradient,
    weight_collapse,
    weight_drift,
    zero_gradient,
)
from analysis.findings.causality import Explained, explained
from analysis.findings.finding import AFFECTED as AFFECTED
from analysis.findings.finding import CAUSE as CAUSE
from analysis.findings.finding import COLUMNS as COLUMNS
from analysis.findings.finding import EXPLAINED_BY as EXPLAINED_BY
from analysis.findings.finding import FROM_STEP as FROM_STEP
from analysis.findings.finding import GRAVE as GRAVE
from analysis.findings.finding import KIND as KIND
from analysis.findings.finding import LAYER_COUNT as LAYER_COUNT
from analysis.findings.finding import MESSAGE as MESSAGE
from analysis.findings.finding import NOTE as NOTE
from analysis.findings.finding import REMEDY as REMEDY
from analysis.findings.finding import SEVERITIES as SEVERITIES
from analysis.findings.finding import SEVERITY as SEVERITY
from analysis.findings.finding import TO_STEP as TO_STEP
from analysis.findings.finding import VALUE as VALUE
from analysis.findings.finding import WARNING as WARNING
from analysis.findings.finding import Finding as Finding
from analysis.findings.finding import as_table
from analysis.findings.notices import Notice as Notice
from analysis.findings.notices import unchecked, warned
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds as Thresholds
from analysis.reading.rows_by_run import rows_by_run
from analysis.reading.run_table import runs as read_runs
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from probes.schema import LAYERS, RUN, STEPS, UNITS

_ALL = (
    nonfinite_values.FINDING,
    exploding_gradient.FINDING,
    diverging_loss.FINDING,
    nothing_updated.FINDING,
    accumulated_gradient.FINDING,
    vanishing_gradient.FINDING,
    layer_not_updated.FINDING,
    zero_gradient.FINDING,
    dead_units.FINDING,
    detached_layer.FINDING,
    frozen_layer.FINDING,
    no_gradient.FINDING,
    unused_layer.FINDING,
    eval_mode.FINDING,
    odd_scale.FINDING,
    rate_jump.FINDING,
    replaced_weight.FINDING,
    large_update.FINDING,
    small_update.FINDING,
    rounded_updates.FINDING,
    attention_growth.FINDING,
    spectral_explosion.FINDING,
    weight_collapse.FINDING,
    rank_collapse.FINDING,
    saturated_units.FINDING,
    overflow.FINDING,
    loss_spike.FINDING,
    weight_drift.FINDING,
    loss_plateau.FINDING,
)
FINDINGS: dict[str, Finding] = {finding.kind: finding for finding in _ALL}
KINDS = tuple(FINDINGS)


def findings(store: AnyStore, *, runs: Patterns = None, thresholds: Thresholds | None = None) -> pd.DataFrame:
    """Return all findings of a store, a row for each run, kind and severity.

    A finding that explains others stands before them, whatever its severity. It forms a group with them. The group with
    the gravest finding comes first. Of equally grave groups, the group that began first comes first. The first row is
    therefore the fault to look at.

    Columns: ``run``, ``kind``, ``severity`` (grave, warning or note), ``layer`` (where it began; the first in forward
    order, empty if it is about no layer), ``layers`` (how many have it), ``from_step`` and ``to_step``, ``value`` (the
    number there) and ``limit``, ``message``, ``cause``, ``remedy``, ``column`` (read from), ``affected`` (layers)
    and ``explained_by`` (the kind of the run's finding that this one follows from; empty if it follows from none).

    Only the columns that findings need are read, a few runs at a time.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None takes all runs.
        thresholds: Levels from which on a value is a finding; None takes the defaults.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No run of the store matches.
    """
    return _found(Store.open(store), runs, thresholds)[0]


@dataclass(frozen=True)
class Checked:
    """The findings of a store, with notices on the checks that were not possible.

    Attributes:
        findings: The table of :func:`findings`.
        notices: Warnings of the probe, and which kinds of findings had too few records, run by run.
    """

    findings: pd.DataFrame
    notices: list[Notice]


def checked(store: AnyStore, *, runs: Patterns = None, thresholds: Thresholds | None = None) -> Checked:
    """Return the findings of a store with its notices; arguments and errors as :func:`findings`.

    An empty table means that nothing was found, not that the run is healthy: most kinds of findings need more than one
    record. The notices list the kinds that could not be checked.
    """
    opened = Store.open(store)
    found, lacking = _found(opened, runs, thresholds)
    table = read_runs(opened, runs=runs)
    without_rows = set(table[RUN]) - set(_with_rows(opened, runs))
    nothing = pd.DataFrame()
    empty = [notice for run in without_rows for notice in unchecked(RunRecords(run, nothing, nothing), _ALL)]
    return Checked(found, sorted([*warned(table), *lacking, *empty], key=lambda notice: notice.run))


findings_of = findings  # its name in version 0.1


def findings_in(
    layers: pd.DataFrame,
    steps: pd.DataFrame,
    *,
    units: pd.DataFrame | None = None,
    thresholds: Thresholds | None = None,
) -> pd.DataFrame:
    """Return :func:`findings` of tables that are in memory.

    Args:
        layers: Table ``layers`` with any of the columns that findings need; may be empty.
        steps: Table ``steps``, the rows in which the loss was measured; may be empty.
        units: Table ``units`` with the heads of attention; None if there are none.
        thresholds: As in :func:`findings`.
    """
    nothing = pd.DataFrame()
    tables = [_by_run(table) for table in (layers, steps, nothing if units is None else units)]
    names = sorted({name for table in tables for name in table})
    recorded = (RunRecords(name, *(table.get(name, nothing) for table in tables)) for name in names)
    return _ordered([tree for run in recorded for tree in _trees(run, thresholds)])


def columns_read(table: str) -> tuple[str, ...]:
    """Return the columns of a table that findings read, without its keys."""
    of_findings = (name for finding in _ALL for name in finding.reads.get(table, ()))
    return tuple(dict.fromkeys([*of_findings, *causes.READS.get(table, ())]))


def _by_run(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if RUN not in table:
        return {}
    return {str(run): rows for run, rows in table.groupby(RUN, observed=True, sort=False)}


def _recorded(store: Store, runs: Sequence[str]) -> Iterator[RunRecords]:
    tables = [rows_by_run(store, table, columns=columns_read(table), runs=runs) for table in (LAYERS, STEPS, UNITS)]
    for (run, layers), (_, steps), (_, units) in zip(*tables, strict=True):
        # A loss that was not measured is null. A loss that diverged is NaN, and only NaN is a finding.
        logged = steps.filter(steps["loss"].is_valid()) if "loss" in steps.column_names else steps
        yield RunRecords(run, layers.to_pandas(), logged.to_pandas(), units.to_pandas())


def _with_rows(store: Store, runs: Patterns) -> list[str]:
    return sorted({rows.run for table in (LAYERS, STEPS, UNITS) for rows in store.rows(table, runs)})


def _found(store: Store, runs: Patterns, thresholds: Thresholds | None) -> tuple[pd.DataFrame, list[Notice]]:
    trees: list[Explained] = []
    notices: list[Notice] = []
    for run in _recorded(store, _with_rows(store, runs)):
        trees += _trees(run, thresholds)
        notices += unchecked(run, _ALL)
    return _ordered(trees), notices


def _trees(run: RunRecords, thresholds: Thresholds | None) -> list[Explained]:
    return explained(list(_rows(run, thresholds)), run)


def _rows(run: RunRecords, thresholds: Thresholds | None) -> Iterator[dict[str, object]]:
    limits = thresholds or Thresholds()
    with np.errstate(invalid="ignore", over="ignore"):  # findings look for NaN and infinities
        for finding in _ALL:
            for evidence in finding.find(run, limits):
                if (row := evidence.row(run, finding.kind)) is not None:
                    yield row


def _ordered(trees: Sequence[Explained]) -> pd.DataFrame:
    """Return a row per finding: trees by gravity, then onset; consequences below the finding that explains them."""
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    ordered = sorted(trees, key=lambda tree: (tree.gravity, tree.onset, kinds[tree.root[KIND]], tree.root[RUN]))
    rows: list[dict[str, object]] = []
    for tree in ordered:
        rows.append(tree.root)
        rows.extend(tree.follow())
    return as_table(rows)
