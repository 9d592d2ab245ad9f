"""Findings while a training runs: an observer that reports each grave finding once, when it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.findings import GRAVE, KIND, SEVERITY, columns_read, findings_in
from analysis.reading.tables import records
from analysis.terminal.findings_text import as_log
from probes.schema import KEYS, LAYERS, RUN, STEP, STEPS, is_recorded

SHARE = 0.02  # share of the time that the search may take: it holds Python's lock, which the training needs too
MOST_ROWS = 100_000  # rows of a table that are kept at most
LOSS = "loss"


class LiveFindings:
    """Keeps the rows that findings need and searches them when new rows come, in the thread of the observers.

    Of a long run, the first ``MOST_ROWS / 4`` and the last ``MOST_ROWS / 2`` rows are kept: findings compare with the
    beginning and with the last few records.
    """

    def __init__(self, run: Callable[[], str], say: Callable[[str], object]) -> None:
        """Begin without rows.

        Args:
            run: Returns the run's id.
            say: Called with the text of each finding.
        """
        self._run, self._say = run, say
        self._rows: dict[str, pa.Table] = {}
        self._said: set[str] = set()
        self._next_look = 0.0
        self._has_new = False

    def __repr__(self) -> str:
        return type(self).__name__

    def __call__(self, tables: Mapping[str, pa.Table]) -> None:
        """Take new rows, and search them if enough time has passed."""
        for name in (LAYERS, STEPS):
            if name in tables:
                self._keep(name, tables[name])
        if time.monotonic() >= self._next_look:
            self.look()

    def look(self) -> None:
        """Report the grave findings of all rows so far that were not reported before."""
        if not self._has_new:
            return
        self._has_new = False
        began = time.monotonic()
        found = findings_in(*(self._frame(name) for name in (LAYERS, STEPS)))
        for row in records(found[found[SEVERITY] == GRAVE]):
            if row[KIND] not in self._said:
                self._said.add(row[KIND])
                self._say(as_log(row))
        now = time.monotonic()
        self._next_look = now + (now - began) / SHARE

    def _keep(self, name: str, rows: pa.Table) -> None:
        wanted = {*columns_read(name), *(key.name for key in KEYS[name])}
        new = rows.select([field.name for field in rows.schema if is_recorded(field) and field.name in wanted])
        if name == STEPS:  # a loss that was not logged is null; a loss that diverged is NaN, which is a finding
            new = new.filter(pc.is_valid(new[LOSS]))
        if new.num_rows:
            self._has_new = True
            before = [self._rows[name]] if name in self._rows else []
            self._rows[name] = _thinned(pa.concat_tables([*before, new], promote_options="permissive"))

    def _frame(self, name: str) -> pd.DataFrame:
        rows = self._rows.get(name)
        return pd.DataFrame() if rows is None else rows.unify_dictionaries().to_pandas().assign(**{RUN: self._run()})


def _thinned(rows: pa.Table) -> pa.Table:
    """Return rows without those of whole steps in the middle, so that there are at most ``MOST_ROWS``."""
    if rows.num_rows <= MOST_ROWS:
        return rows
    steps = rows[STEP]
    first, last = steps[MOST_ROWS // 4].as_py(), steps[rows.num_rows - MOST_ROWS // 2].as_py()
    return rows.filter(pc.or_(pc.less(steps, first), pc.greater(steps, last))).combine_chunks()
