"""The data dictionary: every column of every table, what it means and on which tensor it was taken, as Markdown.

``python -m probes.data_dictionary`` prints it; the README holds a copy, and a test holds the copy to the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable

from probes import schema
from probes.metrics import METRICS
from probes.schema import Column

_TABLES = {
    schema.LAYERS: "a row for each recorded step and layer",
    schema.HISTOGRAMS: "a row for each recorded step, layer and tensor (weight, gradient or activation)",
    schema.SPECTRA: "a row for each recorded step, layer and matrix view",
    schema.STEPS: "a row for each logged step and split, with whatever else `probe.log` was given",
    schema.RUNS: "a row for each run",
}


def columns_of(table: str) -> tuple[Column, ...]:
    """Return the columns of a table without its keys; those of ``layers`` are what the metrics declare."""
    fixed = {
        schema.HISTOGRAMS: schema.HISTOGRAM_COLUMNS,
        schema.SPECTRA: schema.SPECTRA_COLUMNS,
        schema.STEPS: schema.STEPS_COLUMNS,
        schema.RUNS: schema.RUNS_COLUMNS,
    }
    if table in fixed:
        return fixed[table]
    return tuple(column for metric in METRICS.values() if metric.table == table for column in metric.columns)


def data_dictionary() -> str:
    """Return the dictionary of all tables as Markdown, one table of columns for each."""
    parts = [f"Every table has `{schema.RUN}` (from the folder's name); a null was not measured, a NaN was."]
    for table, about in _TABLES.items():
        keys = ", ".join(f"`{column.name}`" for column in schema.KEYS[table])
        parts.append(f"**`{table}`**: {about}." + (f" Keys: {keys}." if keys else ""))
        parts.append(_markdown(columns_of(table)))
    return "\n\n".join(parts)


def _markdown(columns: Iterable[Column]) -> str:
    lines = ["| column | unit | formula | taken on | source |", "|---|---|---|---|---|"]
    for column in columns:
        cells = (f"`{column.name}`", column.unit, column.formula, column.tensor, column.reference)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(data_dictionary())
