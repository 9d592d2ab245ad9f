"""Specification of a figure: the columns it needs, its table, its drawing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.notebook_figure import NotebookFigure
from analysis.plotting.page import write_setting
from analysis.plotting.plain_text import write_plain_text
from analysis.plotting.setting import setting_line
from analysis.plotting.style import house_style
from analysis.plotting.tick_labels import write_plainly
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore
from probes import schema
from probes.schema import Column

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class FigureSpec(ABC):
    """A figure: its options are the fields, ``prepare`` makes its table, ``draw`` draws it.

    Attributes:
        layers: Layer names, shell patterns or depth positions. None lets the figure choose a readable number.
        name: The figure's name on the command line and of its files.
        title: Title of the figure.
        reads: The table of the store that the figure reads.
        columns: The columns that the figure reads; rows in which one of them was not measured are dropped, unless
            ``keeps_unmeasured``.
        patterns: Shell patterns of further columns, of which the store must have one; a row may lack any of them.
        keeps_unmeasured: Whether rows stay in which one of ``columns`` was not measured.
        paper: Number of the published figure, ``"Fig. 4"``; empty if the paper has none.
        published: Options that give the published figure.
        published_convolutions: Published layers, by their index among the convolutions, counted from 0.
        settings: Settings of the runs that are an axis of the figure. They are columns of the rows and do not
            distinguish arms.
        across_models: Whether runs of different networks may stand in one figure.
        before_nonlinearity: Whether the figure shows layers before a nonlinearity; rows then have
            ``feeds_nonlinearity``.
        of_gans: Whether only GAN trainings have the columns of the figure.
    """

    layers: Patterns = None
    name: ClassVar[str]
    title: ClassVar[str]
    reads: ClassVar[str] = schema.LAYERS
    columns: ClassVar[tuple[str, ...]] = ()
    patterns: ClassVar[tuple[str, ...]] = ()
    keeps_unmeasured: ClassVar[bool] = False
    paper: ClassVar[str] = ""
    published: ClassVar[Mapping[str, Any]] = NO_OPTIONS
    published_convolutions: ClassVar[tuple[int, ...]] = ()
    settings: ClassVar[tuple[str, ...]] = ()
    across_models: ClassVar[bool] = False
    before_nonlinearity: ClassVar[bool] = False
    of_gans: ClassVar[bool] = False

    def needed(self) -> tuple[str, ...]:
        """Return the columns to read. A figure with an option that names a column overrides this."""
        return self.columns

    @abstractmethod
    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the table that is drawn. The method is pure.

        Args:
            rows: The table that the figure reads, in recorded order; each row has its run's ``arm``, ``norm`` and
                ``arm_order``.

        Raises:
            ValueError: There is nothing to draw; the message names the missing data.
        """

    @abstractmethod
    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a prepared table into an empty figure."""


@dataclass(frozen=True)
class Prepared:
    """A figure with its numbers, ready to draw.

    Attributes:
        spec: The figure and its options.
        table: The table that is drawn.
        columns: Unit, formula and reference of the columns that the table was made from, as the store describes them.
        runs: Rows of :func:`analysis.runs` for the runs in the figure.
        of_layers: Number of layers that the shown layers were chosen from.
        shown: Published layers that the figure shows, in words.
        store: The store, for a figure that shows files beside the tables.
        naming: The ``names`` and ``groups`` of layers that were asked for.
    """

    spec: FigureSpec
    table: pd.DataFrame
    columns: Mapping[str, Column]
    runs: pd.DataFrame
    of_layers: int = 0
    shown: str = ""
    store: AnyStore = ""
    naming: Mapping[str, Any] = field(default_factory=dict)

    def draw(self) -> Figure:
        """Return the matplotlib figure."""
        with house_style():
            figure = NotebookFigure()
            self.spec.draw(figure, self)
            write_setting(figure, " · ".join(part for part in (setting_line(self.runs), self.shown) if part))
            for axes in figure.axes:
                write_plainly(axes)
            write_plain_text(figure)
        return figure
