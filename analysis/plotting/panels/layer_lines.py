"""Base of the figures of one column: one panel per norm, one line per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, definition, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import over_runs, smoothed


@dataclass(frozen=True, kw_only=True)
class LayerLines(FigureSpec):
    """One column of each layer; one panel per norm, coloured by depth.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
        log: Whether the column spans decades.
        level: Value of the line of reference, or None.
        level_note: Meaning of the line of reference.
    """

    smooth: int = 1
    log: ClassVar[bool] = False
    level: ClassVar[float | None] = None
    level_note: ClassVar[str] = ""

    def choose_layers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the layers to show: those with a weight matrix."""
        return weight_layers(rows, self.layers)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer and step."""
        (column,) = self.needed()
        return over_runs(smoothed(self.choose_layers(rows), column, window=self.smooth), column=column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm."""
        (name,) = self.needed()
        column = prepared.columns[name]
        draw_by_norm(
            figure,
            prepared.table,
            PanelText(
                self.title,
                with_smoothing(definition(column), self.smooth) + self.level_note,
                axis_label(column),
                level=self.level,
            ),
            log=self.log,
        )
