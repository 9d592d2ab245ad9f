"""Figures and tables of a reproduction of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.table import Table

from analysis.figures import FIGURES
from analysis.gallery.gallery import write_figures
from analysis.paper.table_book import write_tables
from dynamics.sweeps.results import FORMATS


@dataclass(frozen=True)
class Reproduction:
    """The figures and tables of a reproduction.

    Attributes:
        files: The written files, grouped by figure or table.
        refused: Reasons why a figure or table could not be made, by its name.
    """

    files: list[list[Path]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def as_text(table: pd.DataFrame, *, title: str) -> Table:
    """Return the results as a table for the terminal."""
    shown = Table(title=title, title_justify="left")
    for column in table.columns:
        shown.add_column(column.replace("_", " "), justify="right" if column in FORMATS else "left")
    for row in table.itertuples(index=False):
        cells = zip(table.columns, row, strict=True)
        shown.add_row(*(FORMATS.get(column, "{}").format(value) for column, value in cells))
    return shown


def draw(store: str, runs: Sequence[str], *, out: Path) -> Reproduction:
    """Draw every figure and write every table of the paper that these runs allow.

    ``accuracy_time`` is left out: parallel runs share the machine, so their times cannot be compared.
    """
    if not runs:
        return Reproduction()
    gallery = write_figures(store, out, runs=runs, only=[name for name in FIGURES if name != "accuracy_time"])
    book = write_tables(store, runs=runs, formats=("md", "csv"), out=out)
    files = [*gallery.written.values(), *([path] for path in book.written)]
    return Reproduction(files, {**gallery.refused, **book.refused})
