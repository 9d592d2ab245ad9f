"""Finding "drift": the mean weight of a layer moves far from its first recorded value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.findings.finding import Finding, Thresholds, first_above
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.transforms import drift
from probes.schema import LAYER_TYPE, LAYERS

_KIND, _MEAN, _VARIANCE = "drift", "weight_mean", "weight_var"


def weight_drift(layers: pd.DataFrame, steps: pd.DataFrame, limits: Thresholds) -> pd.DataFrame:  # noqa: ARG001
    """Return the layers whose weight mean has drifted by a multiple of the weights' standard deviation.

    ``value`` is that multiple. Normalisation layers are left out: their scales are all equal at first, so their
    standard deviation is 0.
    """

    def deviations(rows: pd.DataFrame) -> pd.Series:
        return drift(rows).abs() / np.sqrt(rows[_VARIANCE].astype("float64"))

    rows = weight_layers(layers, None) if LAYER_TYPE in layers else layers
    text = "the mean weight has drifted by {value:.2f} standard deviations"
    return first_above(rows, [_MEAN, _VARIANCE], deviations, limits.drift, kind=_KIND, text=text)


FINDING = Finding(_KIND, {LAYERS: (_MEAN, _VARIANCE)}, weight_drift)
