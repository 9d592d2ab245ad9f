"""Fig. 6: the mean singular value of each layer over training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.by_norm import draw_by_norm
from analysis.figures.page import axis_label, definition, with_smoothing
from analysis.figures.picture import Picture, Prepared
from analysis.layer_choice import weight_layers
from analysis.transforms import over_runs, smoothed


@dataclass(frozen=True, kw_only=True)
class SingularValues(Picture):
    """Mean singular value by layer; one panel a norm, coloured by depth.

    Attributes:
        column: ``singular_value_mean``, of the unfolded matrix, or the paper's ``kernel_singular_value_mean``.
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
    """

    column: str = "singular_value_mean"
    smooth: int = 1
    name = "singular_values"
    title = "Mean singular value of each layer"
    paper = "Fig. 6"
    published = MappingProxyType({"column": "kernel_singular_value_mean", "smooth": 15})
    published_convolutions = (13, 44, 56, 67, 75)

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the mean singular value over runs, a row for each arm, layer and step."""
        rows = weight_layers(rows, self.layers)
        return over_runs(smoothed(rows, self.column, window=self.smooth), column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a panel a norm."""
        column = prepared.columns[self.column]
        note = with_smoothing(definition(column), self.smooth)
        draw_by_norm(figure, prepared.table, title=self.title, note=note, ylabel=axis_label(column))
