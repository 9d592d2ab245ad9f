"""Tables of findings and runs with a short display in a notebook and at the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from analysis import findings as _findings
from analysis.findings.places import place
from analysis.reading import run_table
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore
from analysis.reading.tables import records
from analysis.terminal.findings_text import as_notes, as_paragraphs, counted
from probes.schema import LAYER, RUN
from probes.schema.printable import printable

_COLORS = {_findings.GRAVE: "#b00020", _findings.WARNING: "#a15c00", _findings.NOTE: "#5f6368"}
_OF_RUNS = (RUN, "status", "last_step", "device", "updated")
_NOT_SHOWN = {"started", "versions", "gaps", "schema_version"}


class FindingsTable(pd.DataFrame):
    """The table of findings: a DataFrame like any other, printed as paragraphs with cause and remedy.

    Columns and rows taken from it are a plain DataFrame or Series.

    Attributes:
        notices: Warnings of the probe, and kinds of findings that the runs had too few records for. They are printed
            below the findings.
    """

    _metadata = ["notices"]  # noqa: RUF012 - pandas keeps the attributes that are listed here
    notices: Sequence[_findings.Notice] = ()

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        paragraphs, notes = as_paragraphs(self), as_notes(self.notices)
        last = "\n".join([*([notes] if notes else []), counted(self, self.notices) if paragraphs else "no findings"])
        return f"{paragraphs}\n\n{last}" if paragraphs else last

    __str__ = __repr__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(line)}</p>" for line in as_notes(self.notices).splitlines())
        if self.empty:
            return f"<p>no findings</p>{notes}"
        rows = "".join(_finding_row(row) for row in records(self))
        head = "".join(f"<th>{name}</th>" for name in ("", "run", "where", "steps", "seen", "cause", "remedy"))
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f"<p>{escape(counted(self, self.notices))}</p>{table}{notes}"


def _finding_row(row: dict[str, Any]) -> str:
    where = place(row[LAYER], row[_findings.AFFECTED])
    first, last = row[_findings.FROM_STEP], row[_findings.TO_STEP]
    steps = f"{first:,}" if first == last else f"{first:,} to {last:,}"
    severity = row[_findings.SEVERITY]
    label = f'<b style="color:{_COLORS[severity]}">{severity}: {escape(row[_findings.KIND])}</b>'
    texts = (row[RUN], where, steps, row[_findings.MESSAGE], row[_findings.CAUSE], row[_findings.REMEDY])
    cells = "".join(f'<td style="text-align:left">{escape(str(text))}</td>' for text in texts)
    return f'<tr><td style="text-align:left">{label}</td>{cells}</tr>'


class RunsTable(pd.DataFrame):
    """The table of runs: a DataFrame like any other, printed with the settings in which the runs differ."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return self.in_short().to_string(index=False)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return str(self.in_short().to_html(index=False, border=0))

    def in_short(self) -> pd.DataFrame:
        """Return id, status, last step, device, last update and the settings in which the runs differ, safe to show."""
        settings = [name for name in self.columns if name not in {*_OF_RUNS, *_NOT_SHOWN}]
        differing = [name for name in settings if self[name].astype(str).nunique() > 1]
        shown = pd.DataFrame(self)[[name for name in (*_OF_RUNS, *differing) if name in self.columns]].copy()
        if "updated" in shown:
            shown["updated"] = shown["updated"].map(lambda time: "-" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M}")
        if "last_step" in shown:
            shown["last_step"] = shown["last_step"].map(lambda step: "-" if pd.isna(step) else f"{int(step):,}")
        return shown.map(_safe).rename(columns=printable)


def _safe(cell: object) -> object:
    return printable(cell) if isinstance(cell, str) else cell


def no_findings() -> FindingsTable:
    """Return the table of findings without a row."""
    return FindingsTable(_findings.findings_in(pd.DataFrame(), pd.DataFrame()))


def findings(
    store: AnyStore, *, runs: Patterns = None, thresholds: _findings.Thresholds | None = None
) -> FindingsTable:
    """Return the findings of a store, a row for each run, kind and severity, the gravest first.

    The columns are those of :func:`analysis.findings.findings`. At a prompt and in a notebook, the table is shown as
    paragraphs with cause and remedy. Attribute ``notices`` has the warnings of the probe, and the kinds of findings
    that need more records. A run is not shown to be free of those kinds.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None takes all runs.
        thresholds: Levels from which on a value is a finding; None takes the defaults.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No run of the store matches.
    """
    checked = _findings.checked(store, runs=runs, thresholds=thresholds)
    table = FindingsTable(checked.findings)
    table.notices = checked.notices
    return table


def runs(store: AnyStore, *, runs: Patterns = None) -> RunsTable:
    """Return one row per run: status, last step, device, versions, and a column for each setting.

    The columns are those of :func:`analysis.runs`. At a prompt and in a notebook, the table is shown with the settings
    in which the runs differ.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None takes all runs.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store is empty, or no run matches.
    """
    return RunsTable(run_table.runs(store, runs=runs))
