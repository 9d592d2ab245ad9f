"""A finding: the columns it needs, the function that searches a run for it, and its row in the table of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.causes.weighing import Cause, Onset, weighed
from analysis.findings.history import ever
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from probes.schema import LAYER, RUN

GRAVE, WARNING, NOTE = "grave", "warning", "note"
SEVERITIES = (GRAVE, WARNING, NOTE)
KIND, SEVERITY, LAYER_COUNT, FROM_STEP, TO_STEP = "kind", "severity", "layers", "from_step", "to_step"
VALUE, LIMIT, MESSAGE, CAUSE, REMEDY, COLUMN, AFFECTED, EXPLAINED_BY = (
    "value",
    "limit",
    "message",
    "cause",
    "remedy",
    "column",
    "affected",
    "explained_by",
)
_TYPES = {
    RUN: "object",
    KIND: "object",
    SEVERITY: "object",
    LAYER: "object",
    LAYER_COUNT: "int64",
    FROM_STEP: "int64",
    TO_STEP: "int64",
    VALUE: "float64",
    LIMIT: "float64",
    MESSAGE: "object",
    CAUSE: "object",
    REMEDY: "object",
    COLUMN: "object",
    AFFECTED: "object",
    EXPLAINED_BY: "object",
}
COLUMNS = tuple(_TYPES)
WHOLE_RUN = ("",)
"""The layers of a finding that is about no layer."""


@dataclass(frozen=True)
class Evidence:
    """The records and layers of one run at which a finding holds, with its message, cause and remedy.

    Attributes:
        where: Whether the finding holds, ``(records, layers)``; all False is no finding. Later records must not change
            earlier entries.
        steps: The step of each record, ``(records,)``.
        layers: The layers in forward order, or ``WHOLE_RUN``.
        values: The number that was compared, ``(records, layers)``.
        limit: The level that the number was compared with.
        column: The column that the number was read from.
        severity: ``"grave"``: the training is broken. ``"warning"``: probably not intended. ``"note"``: may be
            intended.
        message: One line, with ``{value}`` for the number of the first layer at the first step, and ``{limit}``.
        cause: The likely cause; or possible causes, which are weighed by the tables.
        remedy: The remedy to try if no possible cause has a number that speaks for it, or the only remedy.
        named: The index of the layer to name; None takes the first layer in forward order at the first record.
    """

    where: np.ndarray
    steps: np.ndarray
    layers: Sequence[str]
    values: np.ndarray
    limit: float
    column: str
    severity: str
    message: str
    cause: str | Sequence[Cause]
    remedy: str
    named: int | None = None

    def row(self, run: RunRecords, kind: str) -> dict[str, Any] | None:
        """Return the row of the table of findings, or None if the finding holds nowhere."""
        records = np.flatnonzero(self.where.any(axis=1))
        if not records.size:
            return None
        first, last = records[0], records[-1]
        layer = int(self.where[first].argmax()) if self.named is None else self.named
        value = float(self.values[first, layer])
        cause, remedy = self._explained(Onset(run, int(self.steps[first]), layer if self.layers[layer] else None))
        affected = [name for name, hit in zip(self.layers, ever(self.where), strict=True) if hit and name]
        return {
            RUN: run.run,
            KIND: kind,
            SEVERITY: self.severity,
            LAYER: self.layers[layer],
            LAYER_COUNT: len(affected),
            FROM_STEP: int(self.steps[first]),
            TO_STEP: int(self.steps[last]),
            VALUE: value,
            LIMIT: self.limit,
            MESSAGE: self.message.format(value=value, limit=self.limit),
            CAUSE: cause,
            REMEDY: remedy,
            COLUMN: self.column,
            AFFECTED: affected,
            EXPLAINED_BY: "",
        }

    def _explained(self, onset: Onset) -> tuple[str, str]:
        if isinstance(self.cause, str):
            return self.cause, self.remedy
        return weighed(self.cause, onset, remedy=self.remedy)


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes:
        kind: The word in column ``kind``.
        reads: The columns that the finding needs, by table.
        find: The function that takes the records of one run and the thresholds, and returns the evidence. It is pure. A
            run without the columns gives no evidence. It compares across depth and with the past, never with the
            future: later rows may lengthen a finding, but neither remove it nor move its first step.
        fewest: The number of records that the finding needs of the first column in ``reads``. In table ``steps``,
            logged numbers are counted. A run with fewer records is not checked.
    """

    kind: str
    reads: Mapping[str, tuple[str, ...]]
    find: Callable[[RunRecords, Thresholds], Iterable[Evidence]]
    fewest: int = 1


def as_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows of :meth:`Evidence.row` as the table of findings; no rows give an empty table."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)
