"""Fig. 4: drift of the mean of each layer's weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, definition, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_layer import draw_by_layer
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.layer_choice import readable, weight_layers, with_choice
from analysis.summaries.transforms import drift, over_runs, smoothed

COLUMN = "weight_mean"


@dataclass(frozen=True, kw_only=True)
class MeanDrift(FigureSpec):
    """Drift of the weight mean from its first record; one panel per layer, one line per norm.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
        from_start: Whether the first recorded value is subtracted; the paper plots the mean itself.
    """

    smooth: int = 1
    from_start: bool = True
    name = "mean_drift"
    title = "Drift of the weight mean"
    columns = (COLUMN,)
    paper = "Fig. 4"
    published = MappingProxyType({"smooth": 15, "from_start": False})
    published_convolutions = (6, 44, 84)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the drift over runs, a row for each arm, layer and step."""
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6)
        if self.from_start:
            rows = rows.assign(**{COLUMN: drift(rows, column=COLUMN)})
        return over_runs(smoothed(rows, COLUMN, window=self.smooth), column=COLUMN)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer, with the line of zero."""
        column = prepared.columns[COLUMN]
        since, what = (", minus its value at the first record", "drift of the ") if self.from_start else ("", "")
        note = with_smoothing(definition(column) + since, self.smooth)
        note = with_choice(note, prepared.table, of=prepared.of_layers)
        draw_by_layer(figure, prepared.table, PanelText(self.title, note, what + axis_label(column), level=0.0))
