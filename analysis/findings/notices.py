"""Notices beside the findings of a run: warnings of the probe, and kinds of findings that could not be checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.finding import Finding
from analysis.findings.places import joined
from analysis.findings.run_records import RunRecords
from analysis.reading.tables import records
from probes.schema import LAYERS, RUN, STEP, STEPS

PROBE, UNCHECKED = "probe", "unchecked"
_ADVICE = {LAYERS: "record more often (every=)", STEPS: "log the loss at every step (probe.log)"}
_SHORT = "train for more steps"
_NAMED = 3  # kinds that the text names


@dataclass(frozen=True)
class Notice:
    """A warning of the probe of one run, or the list of the kinds of findings that the run was not checked for.

    Attributes:
        run: The run's id.
        source: ``"probe"``: a warning that the probe gave while it recorded. ``"unchecked"``: the run has too few
            records.
        text: One line.
        kinds: The kinds of findings that were not checked; empty for a warning of the probe.
    """

    run: str
    source: str
    text: str
    kinds: tuple[str, ...] = ()


def unchecked(run: RunRecords, every: Sequence[Finding]) -> Iterator[Notice]:
    """Yield a notice for the kinds of findings that have too few records of their column to be checked.

    Kinds whose column the run does not record are left out.

    Args:
        run: The records of the run.
        every: All kinds of findings.
    """
    lacking: dict[tuple[str, str, int], list[str]] = {}
    for finding in every:
        table, column = next((table, columns[0]) for table, columns in finding.reads.items())
        count = _measured(run, table, column)
        if count is not None and count < finding.fewest:
            words = column if table != STEPS and 0 < count < len(run.steps) else ""
            lacking.setdefault((table, words, count), []).append(finding.kind)
    for (table, column, count), kinds in lacking.items():
        counted = _counted(table, column, count)
        need, were = ("needs", "was") if len(kinds) == 1 else ("need", "were")
        more = "more" if table == STEPS else "more records"
        share = f"{len(kinds)} of {len(every)} kinds of findings"
        named = f" ({joined(kinds)})" if len(kinds) <= _NAMED else ""
        told = f"{share}{named} {need} {more} and {were} not checked"
        yield Notice(run.run, UNCHECKED, f"{counted}: {told}; {_advice(run, table, count)}", tuple(kinds))


def warned(runs: pd.DataFrame) -> Iterator[Notice]:
    """Yield the warnings and the failures of the probe of each run, one notice for failures with the same reason.

    Notes that the probe took without a warning are left out. Stores of version 0.1.0 mark no warnings: there only
    failures are reported.

    Args:
        runs: Rows of table ``runs``.
    """
    for row in records(runs):
        gaps = json.loads(row["gaps"]) if isinstance(row.get("gaps"), str) else []
        for gap in gaps:
            if gap.get("warned"):
                yield Notice(row[RUN], PROBE, f"{gap.get('what', '')}{_place(gap)}: {gap.get('why', '')}")
        failures: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for gap in gaps:
            if "count" in gap:
                failures.setdefault((str(gap.get("what", "")), str(gap.get("why", ""))), []).append(gap)
        for (what, why), places in failures.items():
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            first = min((gap["first_step"] for gap in places if "first_step" in gap), default=None)
            step = "" if first is None else f", first at step {first:,}"
            yield Notice(row[RUN], PROBE, f"{what}{_place(places[0])}{more} could not be recorded{step}: {why}")


def _place(gap: dict[str, Any]) -> str:
    return f" of layer {gap['layer']}" if "layer" in gap else ""


def _measured(run: RunRecords, table: str, column: str) -> int | None:
    """Return how many records of a column there are; None where the run does not record it."""
    if table == STEPS:
        logged = run.logged(column)
        return 0 if logged is None else len(logged[0])
    if table != LAYERS:
        return int(run.units[STEP].nunique()) if column in run.units and run.units[column].notna().any() else None
    if not len(run.steps):
        return 0
    matrix = run.whole(column)
    count = 0 if matrix is None else int((~np.isnan(matrix)).any(axis=1).sum())
    return count or None


def _advice(run: RunRecords, table: str, count: int) -> str:
    """Return advice on how to get more records: a run with a record at every step must be longer."""
    logged = run.logged("loss") if table == STEPS else None
    steps = run.steps if logged is None else logged[0]
    at_every_step = 1 < count == len(steps) and steps[-1] - steps[0] == count - 1
    return _SHORT if at_every_step else _ADVICE.get(table, _ADVICE[LAYERS])


def _counted(table: str, column: str, count: int) -> str:
    if table == STEPS:
        return f"{count or 'no'} training {'loss was' if count == 1 else 'losses were'} logged"
    record = "1 record" if count == 1 else f"{count or 'no'} records"
    return f"{record} of {column}" if column else record
