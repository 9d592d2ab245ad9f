"""The share of dead channels, which the paper attributes to a large negative mean."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.plotting.panels.layer_lines import LayerLines
from analysis.summaries.nonlinearities.layers_before import pre_activation_layers


@dataclass(frozen=True, kw_only=True)
class DeadFraction(LayerLines):
    """Share of channels that are never positive before the nonlinearity, by layer."""

    name = "dead_fraction"
    title = "Channels that no input turns on"
    columns = ("dead_fraction",)
    own_layers = True
    cut = False  # the layer that dies is the finding
    before_nonlinearity = True

    def choose_layers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the layers before a nonlinearity."""
        return pre_activation_layers(rows)
