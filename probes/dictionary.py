"""The data dictionary: every table and column, from the declarations that the writer itself uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

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

HEAD = ("column", "definition", "measured on", "unit", "type", "since")
MARKDOWN = str.maketrans({"<": "&lt;", **{character: f"\\{character}" for character in "|*_["}})
"""Characters of formulas that are also markup in Markdown."""


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


def columns_by_group(table: str) -> dict[str, tuple[Column, ...]]:
    """Return the columns of a table that metrics fill, by group of metrics.

    Each column is in its first group only.
    """
    groups: dict[str, list[Column]] = {}
    seen: set[str] = set()
    for metric in METRICS.values():
        if metric.table == table:
            new = [column for column in metric.columns if column.name not in seen]
            groups.setdefault(metric.group, []).extend(new)
            seen |= {column.name for column in new}
    return {group: tuple(columns) for group, columns in groups.items() if columns}


def data_dictionary() -> dict[str, str]:
    """Return a Markdown text for each table: its keys, then its columns, by group where metrics fill them."""
    return {table: "\n".join(_sections(table, columns)) for table, columns in columns_by_table().items()}


def _measured(table: str) -> tuple[Column, ...]:
    return tuple(column for columns in columns_by_group(table).values() for column in columns)


def _sections(table: str, columns: Iterable[Column]) -> Iterator[str]:
    keys = KEYS[table]
    if keys:
        yield f"## Keys\n\n{_rows(table, keys)}"
    groups = columns_by_group(table)
    if table == STEPS:
        groups = {"": STEPS_COLUMNS, "network": NETWORK_COLUMNS}
    elif not groups:
        groups = {"": tuple(column for column in columns if column not in keys)}
    for group, members in groups.items():
        heading = "## Columns" if not group else f"## Group `{group}`"
        if group == "network":
            heading = "## The whole network"
        yield f"{heading}\n\n{_rows(table, members)}"


def _rows(table: str, columns: Iterable[Column]) -> str:
    rows = [_cells(column, since(table, column.name)) for column in columns]
    filled = [index for index in range(len(HEAD)) if any(cells[index] for cells in rows)]
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    return "".join(f"| {' | '.join(cells[index] for index in filled)} |\n" for cells in lines)


def _cells(column: Column, version: int) -> tuple[str, ...]:
    definition = f"{column.formula} ({column.reference})" if column.reference else column.formula
    words = (definition, column.tensor, column.unit)
    return (f"`{column.name}`", *(word.translate(MARKDOWN) for word in words), type_name(column.type), str(version))


def type_name(kind: pa.DataType) -> str:
    """Return the type of a column as pandas users call it."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_timestamp(kind):
        return "timestamp, UTC"
    return {"string": "text", "float": "float32", "double": "float64"}.get(str(kind), str(kind))


if __name__ == "__main__":
    print("\n".join(f"# {table}\n\n{text}" for table, text in data_dictionary().items()))
