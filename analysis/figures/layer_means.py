"""Fig. 3: mean and deviation of each layer's weights, and of its nonlinearity's input, over training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_view import PLACE, draw_by_view
from analysis.reading.selection import spread_over
from analysis.summaries.comparison_arms import ARM
from analysis.summaries.layer_choice import (
    convolutions,
    in_depth_order,
    published_layers,
    weight_layers,
    with_choice,
)
from analysis.summaries.nonlinearities.layers_before import pre_activation_layers
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, over_runs, smoothed
from probes.schema import FEEDS, LAYER, STEP

DEVIATION, TENSOR = "deviation", "tensor"
_VIEWS = {"weight": "weights", "activation": "pre-activation"}
_FORMULA = r"line: $\mu = \sum_i x_i\,/\,n$;   band: $\mu \pm %s\,s$,  $s^2 = \sum_i (x_i-\mu)^2\,/\,n$"


@dataclass(frozen=True, kw_only=True)
class LayerMeans(FigureSpec):
    """Mean of the weights and of the nonlinearity's input, each in a band of its own standard deviation.

    The paper measures weights (upper row) and draws conclusions about activations (lower row). Both rows show layers of
    the same relative depth.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
        deviations: Half the height of the band, in standard deviations.
        places: Numbers of layers among 99 convolutions, scaled to the depth of the network; None takes three layers,
            spread over the depth.
    """

    smooth: int = 1
    deviations: float = 0.5
    places: tuple[int, ...] | None = None
    name = "layer_means"
    title = "Mean and spread of the weights, and of what the nonlinearity sees"
    columns = ("weight_mean", "weight_var")
    patterns = ("weight_mean", "activation_mean", "activation_var")
    before_nonlinearity = True
    keeps_unmeasured = True  # a layer without weights has activations
    paper = "Fig. 3"
    published = MappingProxyType({"smooth": 15, "places": (6, 13)})

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return mean and ``deviation`` over runs, a row for each arm, ``tensor``, ``place`` and step.

        Raises:
            ValueError: No weight was measured.
        """
        shown = {"weight": rows, "activation": rows[rows[FEEDS]]}
        parts = [self._of_tensor(shown[tensor], tensor) for tensor in _VIEWS if _measured(shown[tensor], tensor).any()]
        if not parts or parts[0][TENSOR].iloc[0] != "weight":
            raise ValueError(f"figure {self.name!r}: no row of table 'layers' has weight_mean, weight_var measured")
        return pd.concat(parts, ignore_index=True)

    def _of_tensor(self, rows: pd.DataFrame, tensor: str) -> pd.DataFrame:
        measured = rows[_measured(rows, tensor)]
        of_weights = convolutions(measured) if self.places is not None else weight_layers(measured, self.layers)
        found = of_weights if tensor == "weight" else pre_activation_layers(measured)
        mean, deviation = f"{tensor}_mean", np.sqrt(found[f"{tensor}_var"].astype("float64"))
        found = smoothed(found.assign(**{DEVIATION: deviation}), mean, DEVIATION, window=self.smooth)
        # Each arm has its own layers before the nonlinearity, so they are chosen within the arm, by relative depth.
        chosen = [self._chosen(arm) for _, arm in found.groupby(ARM, observed=True)]
        shown = pd.concat(chosen, ignore_index=True)
        table = over_runs(shown, column=mean, by=(LAYER, PLACE, STEP))
        spread = over_runs(shown, column=DEVIATION, by=(LAYER, PLACE, STEP))[[ARM, LAYER, STEP, MEAN]]
        table = table.merge(spread.rename(columns={MEAN: DEVIATION}), on=[ARM, LAYER, STEP], how="left")
        return table.assign(**{TENSOR: tensor})

    def _chosen(self, rows: pd.DataFrame) -> pd.DataFrame:
        names = in_depth_order(rows)
        if self.layers is not None:
            kept = names
        elif self.places is None:
            kept = spread_over(names, most=3)
        else:
            kept = published_layers(names, self.places)
            kept = kept if len(kept) < len(names) else spread_over(names, most=2)
        place = rows[LAYER].astype(str).map({name: place for place, name in enumerate(kept)})
        return rows.assign(**{PLACE: place})[place.notna()].astype({PLACE: "int64"})

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a row of panels for the weights, and a row for the nonlinearity's input."""
        table = prepared.table.assign(band=self.deviations * prepared.table[DEVIATION])
        views = {words: table[table[TENSOR] == name] for name, words in _VIEWS.items() if (table[TENSOR] == name).any()}
        weights = table[table[TENSOR] == "weight"]
        names = in_depth_order(weights)
        note = "Line: mean over the tensor. Band: the tensor's own deviation"
        note += ". Below, what the nonlinearity sees at the same relative depth" if len(views) > 1 else ""
        note = with_choice(with_smoothing(note, self.smooth), weights, of=prepared.of_layers)
        text = PanelText(self.title, note, "value", level=0.0, formula=_FORMULA % f"{self.deviations:g}")
        draw_by_view(figure, views, names, text, band="band")


def _measured(rows: pd.DataFrame, tensor: str) -> pd.Series:
    return was_measured(rows, f"{tensor}_mean", f"{tensor}_var")
