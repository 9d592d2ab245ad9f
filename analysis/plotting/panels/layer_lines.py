"""Base of the figures of one column: one panel per norm, one line per layer or third of the depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, mathtext, meaning, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import over_runs, smoothed
from probes.schema import LAYER, LAYER_INDEX


@dataclass(frozen=True, kw_only=True)
class LayerLines(FigureSpec):
    """One column of each layer; one panel per norm, coloured by depth.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
        log: Whether the column spans decades.
        cut: Whether a few outliers may lie outside the panel, marked at its edge.
        level: Value of the line of reference, or None.
        level_note: Meaning of the line of reference.
        own_layers: Whether each arm has layers of its own, which the lines name by their depth.
    """

    smooth: int = 1
    log: ClassVar[bool] = False
    cut: ClassVar[bool] = True
    level: ClassVar[float | None] = None
    level_note: ClassVar[str] = ""
    own_layers: ClassVar[bool] = False

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
        words = meaning(column)
        note = with_smoothing(f"{words[:1].upper()}{words[1:]}{self.level_note}", self.smooth)
        text = PanelText(self.title, note, axis_label(column), level=self.level, formula=mathtext(column))
        table = by_depth(prepared.table) if self.own_layers and self.layers is None else prepared.table
        draw_by_norm(figure, table, text, log=self.log, cut=self.cut)


def by_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the depth of each layer in the place of its name: "layer 1" is the first of every arm."""
    return table.assign(**{LAYER: [f"layer {place + 1}" for place in table[LAYER_INDEX]]})
