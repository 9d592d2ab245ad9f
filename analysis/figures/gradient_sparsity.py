"""Fig. 1: the share of gradient entries that are exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, mathtext, meaning, sentence, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_layer import draw_by_layer
from analysis.summaries.layer_choice import FEW_LAYERS, readable, weight_layers, with_choice
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import over_runs, smoothed

EXACT, NEAR = "grad_sparsity", "grad_near_sparsity"
COLUMN = "column"


@dataclass(frozen=True, kw_only=True)
class GradientSparsity(FigureSpec):
    """Sparsity of the gradient that the optimizer uses; one panel per layer, one line per norm.

    Under LeakyReLU no entry is exactly zero, except by underflow. If every record is 0, the share of entries that are
    nearly zero is drawn instead of empty panels, and the message says so.

    Attributes:
        column: ``grad_sparsity``, exact zeros, or ``grad_near_sparsity``, entries far below the typical magnitude.
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    column: str = EXACT
    smooth: int = 1
    name = "gradient_sparsity"
    title = "Sparsity of the gradient"
    patterns = (EXACT, NEAR)
    paper = "Fig. 1"
    published_convolutions = (44, 56)

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the sparsity over runs, a row for each arm, layer and step; ``column`` names the column shown."""
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6, all_up_to=FEW_LAYERS)
        near = was_measured(rows, NEAR)
        never = self.column == EXACT and near.any() and (rows[EXACT] == 0).all()
        column, rows = (NEAR, rows[near]) if never else (self.column, rows)
        table = over_runs(smoothed(rows, column, window=self.smooth), column=column)
        return table.assign(**{COLUMN: column})

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer."""
        table = prepared.table
        column = prepared.columns[str(table[COLUMN].iloc[0])]
        note = meaning(column)
        note = sentence(note)
        if column.name != self.column:
            note = f"No entry is exactly zero in any record. {note}"
        note += "; each panel has its own scale"
        note = with_choice(with_smoothing(note, self.smooth), table, of=prepared.of_layers)
        text = PanelText(self.title, note, axis_label(column), formula=mathtext(column))
        draw_by_layer(figure, table, text, sharey=False)
