"""Fig. 1: the share of gradient entries that are exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.by_layer import draw_by_layer
from analysis.figures.page import axis_label, definition, with_smoothing
from analysis.figures.picture import Picture, Prepared
from analysis.layer_choice import readable, weight_layers
from analysis.transforms import over_runs, smoothed

COLUMN = "grad_sparsity"


@dataclass(frozen=True, kw_only=True)
class GradientSparsity(Picture):
    """How sparse the gradient that the optimizer uses is; one panel a layer, one line a norm.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    smooth: int = 1
    name = "gradient_sparsity"
    title = "Share of gradient entries that are exactly zero"
    columns = (COLUMN,)
    paper = "Fig. 1"
    published_convolutions = (44, 56)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the sparsity over runs, a row for each arm, layer and step."""
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6)
        return over_runs(smoothed(rows, COLUMN, window=self.smooth), column=COLUMN)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a layer."""
        column = prepared.columns[COLUMN]
        note = with_smoothing(definition(column), self.smooth)
        draw_by_layer(figure, prepared.table, title=self.title, note=note, ylabel=axis_label(column))
