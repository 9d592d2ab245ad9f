"""Fig. 4: drift of the mean of each layer's weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import axis_label, mathtext, meaning, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_layer import draw_by_layer
from analysis.summaries.comparison_arms import ARM, ARM_ORDER
from analysis.summaries.layer_choice import FEW_LAYERS, readable, weight_layers, with_choice
from analysis.summaries.transforms import MEAN, drift, end_together, last_value, over_runs, smoothed
from probes.schema import LAYER

COLUMN = "weight_mean"
MOST_NAMED = 4  # arms in the message


@dataclass(frozen=True, kw_only=True)
class MeanDrift(FigureSpec):
    """Drift of the weight mean from its first record; one line per norm, one panel per layer with a scale of its own.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
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
        rows = readable(weight_layers(rows, self.layers), self.layers, most=6, all_up_to=FEW_LAYERS)
        if self.from_start:
            rows = rows.assign(**{COLUMN: drift(rows, column=COLUMN)})
        return over_runs(smoothed(rows, COLUMN, window=self.smooth), column=COLUMN)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per layer, with the line of zero."""
        column = prepared.columns[COLUMN]
        since, what = (", less its value at the first record", "drift of the ") if self.from_start else ("", "")
        note = f"{_message(prepared.table, drift=self.from_start)}The {meaning(column)}{since}"
        note += "; each panel has its own scale"
        note = with_choice(with_smoothing(note, self.smooth), prepared.table, of=prepared.of_layers)
        text = PanelText(self.title, note, what + axis_label(column), level=0.0, formula=mathtext(column))
        draw_by_layer(figure, prepared.table, text, sharey=False)


def _message(table: pd.DataFrame, *, drift: bool) -> str:
    """Return in how many layers the mean has fallen under each arm."""
    last = last_value(table)
    arms = [arm for _, arm in last.groupby([ARM_ORDER, ARM], observed=True)]
    if not drift or len(arms) > MOST_NAMED or not end_together(table):
        return ""
    counts = [f"{arm[ARM].iloc[0]} {int((arm[MEAN] < 0).sum())} of {arm[LAYER].nunique()}" for arm in arms]
    return f"At the end the mean has fallen in: {', '.join(counts)} layers. "
