"""The root mean square of the residual stream at the input of each norm along it, over depth and time."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.heat_maps import column_text, draw_heat_maps
from analysis.summaries.layer_choice import is_normalisation
from analysis.summaries.naming.blocks import norms_of_the_stream
from analysis.summaries.transforms import over_runs
from probes.schema import LAYER_TYPE


@dataclass(frozen=True, kw_only=True)
class ResidualMap(FigureSpec):
    """Depth by step, one panel per arm: the rms of the input of each norm along the stream, first norm at the top.

    Attributes:
        column: ``input_rms``, or another column of the norms.
    """

    column: str = "input_rms"
    name = "residual_map"
    title = "The residual stream over depth and time"

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the column over runs, a row for each arm, norm and step; for all layers if none is a norm."""
        kinds = {kind for kind in map(str, rows[LAYER_TYPE].unique()) if is_normalisation(kind)}
        chosen = rows if self.layers is not None or not kinds else norms_of_the_stream(rows, is_norm=kinds)
        return over_runs(chosen, column=self.column)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per arm, input at the top."""
        shown = "of the norms along the stream, input at the top"
        text = column_text(self.title, prepared.columns[self.column], shown)
        draw_heat_maps(figure, prepared.table, text)
