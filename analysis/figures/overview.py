"""A heat map of one column: every layer at every step."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.heat_maps import column_text, draw_heat_maps
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import over_runs


@dataclass(frozen=True, kw_only=True)
class Overview(FigureSpec):
    """Layer by step, one panel per norm; the colour is the value, red is NaN, grey was not measured.

    Attributes:
        column: Any column of table ``layers``.
    """

    column: str = "weight_mean"
    name = "overview"
    title = "Every layer at every step"

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, layer and step."""
        return over_runs(weight_layers(rows, self.layers), column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, input at the top."""
        text = column_text(self.title, prepared.columns[self.column], "input at the top")
        draw_heat_maps(figure, prepared.table, text)
