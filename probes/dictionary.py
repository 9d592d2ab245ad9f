"""The data dictionary: every table and column, from the declarations that the writer itself uses."""

from __future__ import annotations

from collections.abc import Iterable

from probes.metrics import METRICS
from probes.schema import (
    CHANNEL_COLUMNS,
    CHANNELS,
    HISTOGRAM_COLUMNS,
    HISTOGRAMS,
    KEYS,
    LAYERS,
    NETWORK_COLUMNS,
    PARAMETERS,
    RUNS,
    RUNS_COLUMNS,
    SPECTRA,
    SPECTRA_COLUMNS,
    STEPS,
    STEPS_COLUMNS,
    UNIT_COLUMNS,
    UNITS,
    Column,
    since,
)


def columns_by_table() -> dict[str, tuple[Column, ...]]:
    """Return each table's keys and columns, those that metrics fill in the order of ``METRICS``."""
    own = {
        LAYERS: _measured(LAYERS),
        PARAMETERS: _measured(PARAMETERS),
        CHANNELS: CHANNEL_COLUMNS,
        UNITS: UNIT_COLUMNS,
        HISTOGRAMS: HISTOGRAM_COLUMNS,
        SPECTRA: SPECTRA_COLUMNS,
        STEPS: (*STEPS_COLUMNS, *NETWORK_COLUMNS),
        RUNS: RUNS_COLUMNS,
    }
    return {table: (*KEYS[table], *columns) for table, columns in own.items()}


def _measured(table: str) -> tuple[Column, ...]:
    columns = (column for metric in METRICS.values() if metric.table == table for column in metric.columns)
    return tuple({column.name: column for column in columns}.values())  # two metrics may fill one column


def data_dictionary() -> str:
    """Return all tables as Markdown: a section each, a row a column with unit, formula, tensor, reference, version."""
    return "\n".join(_section(table, columns) for table, columns in columns_by_table().items())


def _section(table: str, columns: Iterable[Column]) -> str:
    words = ("column", "type", "unit", "what", "taken on", "reference", "since")
    head = f"### `{table}`\n\n| {' | '.join(words)} |\n{'|---' * len(words)}|\n"
    return head + "".join(_row(column, since(table, column.name)) for column in columns)


def _row(column: Column, version: int) -> str:
    facts = (str(column.type), column.unit, column.formula, column.tensor, column.reference, str(version))
    cells = (f"`{column.name}`", *facts)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    print(data_dictionary())
