"""The columns that a report draws: eight of the layers by default, the numbers of the loop, columns of findings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from analysis.plotting.column_words import axis_label, definition, in_words
from probes.schema import LAYERS, STEPS, Column


@dataclass(frozen=True)
class ChartColumn:
    """A column with a chart of its own.

    Attributes:
        table: The table of the column.
        name: The column.
        title: The chart's title.
        log: Whether its axis is logarithmic at first.
        from_start: Whether the first recorded value is subtracted at first.
        before_nonlinearity: Whether only layers before a nonlinearity have lines.
    """

    table: str
    name: str
    title: str
    log: bool = False
    from_start: bool = False
    before_nonlinearity: bool = False

    @property
    def key(self) -> str:
        """The table and the name, which together identify the column."""
        return f"{self.table}.{self.name}"


DEFAULTS = (
    ChartColumn(LAYERS, "grad_l2_norm", "Gradient norm", log=True),
    ChartColumn(LAYERS, "update_ratio", "Size of the update relative to the weight", log=True),
    ChartColumn(LAYERS, "weight_mean", "Drift of the weight mean", from_start=True),
    ChartColumn(LAYERS, "spectral_norm", "Spectral norm of the weight"),
    ChartColumn(LAYERS, "activation_var", "Variance of the output", log=True),
    ChartColumn(LAYERS, "activation_drift", "Drift of the channel means", before_nonlinearity=True),
    ChartColumn(LAYERS, "dead_fraction", "Dead channels", before_nonlinearity=True),
    ChartColumn(LAYERS, "grad_sparsity", "Sparsity of the gradient"),
)
NETWORK = (
    ChartColumn(STEPS, "loss", "Loss", log=True),
    ChartColumn(STEPS, "accuracy", "Accuracy"),
    ChartColumn(STEPS, "lr", "Learning rate"),
    ChartColumn(STEPS, "grad_norm", "Norm of the whole gradient", log=True),
)
DEFAULT_KEYS = frozenset(column.key for column in (*DEFAULTS, *NETWORK))
_TITLES = {
    "weight_nonfinite": "NaN and infinite entries of the weight",
    "grad_nonfinite": "NaN and infinite entries of the gradient",
    "activation_nonfinite": "NaN and infinite entries of the output",
}
_LOG_ENDINGS = ("_var", "_l2_norm", "_ratio", "_angle", "_noise", "_noise_trace", "condition_number")


def chart_columns(present: dict[str, dict[str, Column]], also: set[str], *, every: bool) -> list[ChartColumn]:
    """Return the columns to draw: the loss, then those of layers, then the other columns of the network.

    Args:
        present: The measured columns of each table, by name.
        also: Names of columns that findings were read from.
        every: Whether all numeric columns are drawn, and not only the defaults.
    """
    loss, *others = NETWORK
    defaults = (loss, *DEFAULTS, *others)
    chosen = [column for column in defaults if column.name in present.get(column.table, {})]
    named = {(column.table, column.name) for column in chosen}
    for table in (LAYERS, STEPS):
        for name, column in present.get(table, {}).items():
            if (table, name) not in named and (every or name in also) and _is_number(column.type):
                title = _TITLES.get(name, in_words(name).capitalize())
                chosen.append(ChartColumn(table, name, title, log=name.endswith(_LOG_ENDINGS)))
    return chosen


def missing_defaults(present: dict[str, dict[str, Column]]) -> list[str]:
    """Return the default columns that were not recorded."""
    return [column.name for column in (*DEFAULTS, *NETWORK) if column.name not in present.get(column.table, {})]


def described(column: ChartColumn, stored: Column, store: str) -> dict[str, Any]:
    """Return a column as the page has it: names, unit, formula and the line of pandas that draws it."""
    return {
        "key": column.key,
        "name": column.name,
        "table": column.table,
        "title": column.title,
        "label": axis_label(stored),
        "note": definition(stored),
        "log": column.log,
        "fromStart": column.from_start,
        "byDefault": column.key in DEFAULT_KEYS,
        "pandas": pandas_line(column, store),
    }


def pandas_line(column: ChartColumn, store: str) -> str:
    """Return the line of pandas that draws the column from the store."""
    by = '["layer", "run"]' if column.table == LAYERS else '["split", "run"]'
    folder = json.dumps(f"{store}/{column.table}", ensure_ascii=False)
    since = ".pipe(lambda df: df - df.iloc[0])" if column.from_start else ""
    pivot = (
        f'pivot_table(index="step", columns={by}, values={json.dumps(column.name, ensure_ascii=False)}, observed=True)'
    )
    return f"pd.read_parquet({folder}).{pivot}{since}.plot()"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
