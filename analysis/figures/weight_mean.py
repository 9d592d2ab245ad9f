"""Fig. 3: mean and spread of each layer's weights over training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import definition, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.comparison_arms import ARM
from analysis.summaries.layer_choice import readable, weight_layers, with_choice
from analysis.summaries.transforms import MEAN, over_runs, smoothed
from probes.schema import LAYER, STEP

DEVIATION = "deviation"


@dataclass(frozen=True, kw_only=True)
class WeightMean(FigureSpec):
    """Mean of each layer's weights with a band of their own standard deviation; one panel per norm.

    Attributes:
        smooth: Number of records a trailing mean takes; 1 smooths nothing.
        deviations: Half the height of the band, in standard deviations of the weights.
    """

    smooth: int = 1
    deviations: float = 1.0
    name = "weight_mean"
    title = "Mean of the weights, and how widely they scatter"
    columns = ("weight_mean", "weight_var")
    paper = "Fig. 3"
    published = MappingProxyType({"smooth": 15, "deviations": 0.5})
    published_convolutions = (6, 13)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the mean over runs, and ``deviation``, the standard deviation of the weights averaged over runs."""
        rows = readable(weight_layers(rows, self.layers), self.layers, most=3)
        rows = rows.assign(**{DEVIATION: np.sqrt(rows["weight_var"].astype("float64"))})
        rows = smoothed(rows, "weight_mean", DEVIATION, window=self.smooth)
        mean = over_runs(rows, column="weight_mean")
        deviation = over_runs(rows, column=DEVIATION)[[ARM, LAYER, STEP, MEAN]]
        return mean.merge(deviation.rename(columns={MEAN: DEVIATION}), on=[ARM, LAYER, STEP], how="left")

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm, with the line of zero."""
        note = with_smoothing(f"line: {definition(prepared.columns['weight_mean'])}", self.smooth)
        draw_by_norm(
            figure,
            prepared.table.assign(band=self.deviations * prepared.table[DEVIATION]),
            PanelText(self.title, with_choice(note, prepared.table, of=prepared.of_layers), "weight", level=0.0),
            band="band",
            band_text=f"band: ±{self.deviations:g} standard deviation of the weights",
        )
