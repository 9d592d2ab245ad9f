"""Fig. 1: the share of gradient entries that are exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, definition, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_layer import draw_by_layer
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.layer_choice import readable, weight_layers, with_choice
from analysis.summaries.transforms import over_runs, smoothed


@dataclass(frozen=True, kw_only=True)
class GradientSparsity(FigureSpec):
    """How sparse the gradient that the optimizer uses is; one panel per layer, one line per norm.

    Attributes:
        column: ``grad_sparsity``, exact zeros, or ``grad_near_sparsity``, entries far below the typical magnitude.
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    column: str = "grad_sparsity"
    smooth: int = 1
    name = "gradient_sparsity"
    title = "Sparsity of the gradient"
    paper = "Fig. 1"
    published_convolutions = (44, 56)

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the sparsity over runs, a row for each arm, layer and step."""
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6)
        return over_runs(smoothed(rows, self.column, window=self.smooth), column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer."""
        column = prepared.columns[self.column]
        note = with_smoothing(definition(column), self.smooth)
        note = with_choice(note, prepared.table, of=prepared.of_layers)
        draw_by_layer(figure, prepared.table, PanelText(self.title, note, axis_label(column)))
