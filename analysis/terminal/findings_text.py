"""Findings as text: one line each while a run is watched, a paragraph each with cause and remedy when it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.findings import (
    AFFECTED,
    CAUSE,
    FROM_STEP,
    KIND,
    MESSAGE,
    REMEDY,
    SEVERITIES,
    SEVERITY,
    TO_STEP,
    Notice,
)
from analysis.findings.causality import groups
from analysis.findings.finding import COLUMN
from analysis.findings.notices import PROBE, UNCHECKED
from analysis.findings.places import other_layers, place
from analysis.reading.tables import records
from probes.schema import LAYER, RUN
from probes.schema.printable import printable

_SOURCES = {PROBE: "warning of the probe", UNCHECKED: "not checked"}
_NAMED = 3  # runs


def as_line(row: dict[str, Any]) -> str:
    """Return a finding as one line: kind, layer or run, message, first step, other layers."""
    others = other_layers(row[LAYER], row[AFFECTED])
    more = f" (also in {printable(others)})" if others else ""
    where = printable(row[LAYER] or row[RUN])
    return f"{row[KIND]}: {where}: {printable(row[MESSAGE])}, from step {row[FROM_STEP]:,}{more}"


def as_log(row: dict[str, Any]) -> str:
    """Return a finding as a message in a training's log: the fault, the likely cause and the remedy."""
    return f"{row[SEVERITY]} finding in run {row[RUN]}: {as_line(row)}. Likely cause: {row[CAUSE]}. Try: {row[REMEDY]}."


def as_paragraphs(found: pd.DataFrame) -> str:
    """Return findings as paragraphs, in their order, with a line for each consequence; none gives an empty text."""
    return "\n\n".join(_paragraph(row, consequences) for row, consequences in groups(records(found)))


def _paragraph(row: dict[str, Any], consequences: Sequence[dict[str, Any]]) -> str:
    where = f", {printable(place(row[LAYER], row[AFFECTED]))}" if row[LAYER] else ""
    steps = (
        f"step {row[FROM_STEP]:,}"
        if row[FROM_STEP] == row[TO_STEP]
        else f"steps {row[FROM_STEP]:,} to {row[TO_STEP]:,}"
    )
    return "\n".join(
        [
            f"{row[SEVERITY]}: {row[KIND]} in run {row[RUN]}{where}, {steps}",
            f"  seen:   {printable(row[MESSAGE])} (column {row[COLUMN]})",
            f"  cause:  {row[CAUSE]}",
            f"  remedy: {row[REMEDY]}",
            *(f"  then:   {one[SEVERITY]}: {as_line(one)}" for one in consequences),
        ]
    )


def counted(found: pd.DataFrame, notices: Sequence[Notice] = ()) -> str:
    """Return how many findings there are of each severity, ``1 grave, 0 warnings, 2 notes``, and of the notices.

    Warnings of the probe are counted apart, and so are runs in which some kinds of findings were not checked.
    """
    counts = {severity: int((found[SEVERITY] == severity).sum()) for severity in SEVERITIES}
    grave, warnings, notes = counts.values()
    told = f"{grave} grave, {warnings} {_plural('warning', warnings)}, {notes} {_plural('note', notes)}"
    of_probe = sum(notice.source == PROBE for notice in notices)
    partly = len({notice.run for notice in notices if notice.source == UNCHECKED})
    told += f"; {of_probe} {_plural('warning', of_probe)} of the probe" if of_probe else ""
    return told + (f"; {partly} {_plural('run', partly)} not checked for every kind" if partly else "")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def as_notes(notices: Sequence[Notice]) -> str:
    """Return notices as lines, one line for all runs that share a text; no notices give an empty text."""
    runs_of: dict[tuple[str, str], list[str]] = {}
    for notice in notices:
        runs_of.setdefault((notice.source, notice.text), []).append(notice.run)
    return "\n".join(
        f"{_SOURCES[source]}, {_of_runs(runs)}: {printable(text)}" for (source, text), runs in runs_of.items()
    )


def _of_runs(runs: Sequence[str]) -> str:
    named = ", ".join(map(printable, runs[:_NAMED]))
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"{_plural('run', len(runs))} {named}{more}"


def as_json_text(found: pd.DataFrame, notices: Sequence[Notice] = ()) -> str:
    """Return findings as one JSON object: counts by severity, and a list with a key per column.

    NaN and infinity become null. Notices are a second list.
    """
    counts = {severity: int((found[SEVERITY] == severity).sum()) for severity in SEVERITIES}
    listed = [{key: _plain(value) for key, value in row.items()} for row in records(found)]
    beside = [asdict(notice) for notice in notices]
    return json.dumps({**counts, "findings": listed, "notices": beside}, indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
