"""Drift of the channel means before the nonlinearity: the paper's proposed cause of SN's lower accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.plotting.panels.layer_lines import LayerLines
from analysis.summaries.nonlinearities.layers_before import pre_activation_layers


@dataclass(frozen=True, kw_only=True)
class ActivationDrift(LayerLines):
    """Drift of the channel means of each nonlinearity's input, by layer."""

    name = "activation_drift"
    title = "Drift of the channel means before the nonlinearity"
    columns = ("activation_drift",)
    before_nonlinearity = True

    def choose_layers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the layers before a nonlinearity."""
        return pre_activation_layers(rows)
