"""A table of results as Markdown, LaTeX or CSV."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import pandas as pd

from analysis.csv_text import as_csv
from analysis.summaries.norm_names import norm_label
from probes.schema.printable import printable


def to_markdown(table: pd.DataFrame, *, caption: str) -> str:
    """Return a Markdown table under its caption."""
    head, *rows = [[_in_markdown(cell) for cell in line] for line in _cells(table)]
    lines = [head, [":--" if _is_text(table[name]) else "--:" for name in table.columns], *rows]
    return f"**{caption}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _in_markdown(cell: str) -> str:
    """Return a cell in which HTML and ``|``, which ends a cell, are escaped."""
    return escape(printable(cell), quote=False).replace("|", "\\|")


def to_latex(table: pd.DataFrame, *, caption: str) -> str:
    """Return a LaTeX table (booktabs) with its caption."""
    columns = "".join("l" if _is_text(table[name]) else "r" for name in table.columns)
    head, *rows = [" & ".join(_escaped(cell) for cell in line) + r" \\" for line in _cells(table)]
    body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_escaped(caption)}}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def to_csv(table: pd.DataFrame, *, caption: str) -> str:  # noqa: ARG001  # the three writers share one signature
    """Return CSV with full names and plain numbers, without the caption."""
    return as_csv(table, float_format="%.9g")


WRITERS: dict[str, Callable[..., str]] = {"md": to_markdown, "tex": to_latex, "csv": to_csv}


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    percent = "accuracy" in table
    names = [name.replace("_", " ") + (" [%]" if percent and _is_share(name) else "") for name in table.columns]
    columns = [_column(table[name], percent=percent and _is_share(str(name))) for name in table.columns]
    return [names, *map(list, zip(*columns, strict=True))]


def _is_share(name: str) -> bool:
    return name in ("accuracy", "std", "published", "difference")


def _column(values: pd.Series, *, percent: bool) -> list[str]:
    if values.name == "norm":
        return [norm_label(str(value)) for value in values]
    signed = "+" if str(values.name).endswith("difference") else ""
    return [_cell(value, percent=percent, sign=signed) for value in values]


def _cell(value: object, *, percent: bool, sign: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if value != value:  # noqa: PLR0124  # NaN: the paper has no such number, or one run has no spread
        return "–"
    if percent:
        return f"{100 * value:{sign}.2f}"
    if float(value).is_integer():
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.4g}"


def _escaped(text: str) -> str:
    """Return a text in which the special characters of LaTeX are escaped."""
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))


_LATEX = {letter: f"\\{letter}" for letter in "&%_#{}$"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}
