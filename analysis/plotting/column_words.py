"""Names, units and formulas of columns, as a figure writes them."""

from __future__ import annotations

from probes.schema import Column

_WORDS = {
    "grad": "gradient",
    "var": "variance",
    "l2": "L2",
    "lr": "learning rate",
}


def in_words(name: str) -> str:
    """Return a column's name in words: ``grad_var`` is "gradient variance"."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def axis_label(column: Column) -> str:
    """Return a column's name and unit for an axis; a pure number has none."""
    unit = "" if column.unit in ("", "1") else f" [{column.unit}]"
    return in_words(column.name) + unit


def definition(column: Column) -> str:
    """Return the formula and the tensor of a column, as the store gives them."""
    tensor = f"  ({column.tensor})" if column.tensor else ""
    return f"{column.formula}{tensor}" if column.formula else in_words(column.name)


def with_smoothing(note: str, window: int) -> str:
    """Return a note with the window of the smoothing, if there is any."""
    return note if window == 1 else f"{note}; trailing mean of {window} records"
