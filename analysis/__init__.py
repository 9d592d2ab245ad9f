"""Tables, figures and reports from a store. This package never imports torch.

``analysis.layers("runs")`` is a DataFrame, ``analysis.figure("mean_drift", "runs")`` a matplotlib figure. Names are
looked up on first use, so importing this package loads neither pandas nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.differences.run_difference import diff as diff
    from analysis.figures import FIGURES as FIGURES
    from analysis.gallery.column_figure import plot as plot
    from analysis.gallery.column_figure import weight_histograms as weight_histograms
    from analysis.gallery.figure import figure as figure
    from analysis.reading.layer_tables import join as join
    from analysis.reading.layer_tables import top_layers as top_layers
    from analysis.reading.run_table import runs as runs
    from analysis.reading.run_table import with_settings as with_settings
    from analysis.reading.tables import channels as channels
    from analysis.reading.tables import fields as fields
    from analysis.reading.tables import histograms as histograms
    from analysis.reading.tables import layers as layers
    from analysis.reading.tables import parameters as parameters
    from analysis.reading.tables import spectra as spectra
    from analysis.reading.tables import steps as steps
    from analysis.reading.tables import units as units
    from analysis.summaries.densities import histogram_density as histogram_density
    from analysis.summaries.gradient_concentration import gradient_concentration as gradient_concentration
    from analysis.summaries.naming.layer_groups import groups as groups
    from analysis.summaries.nonlinearities.channel_drift import channel_drift as channel_drift
    from analysis.summaries.scaled_drift import with_scaled_drift as with_scaled_drift
    from analysis.summaries.scaling.width_slopes import width_slopes as width_slopes
    from analysis.summaries.transforms import compare as compare
    from analysis.summaries.transforms import drift as drift

_HOMES = {
    "FIGURES": "analysis.figures",
    "channel_drift": "analysis.summaries.nonlinearities.channel_drift",
    "channels": "analysis.reading.tables",
    "compare": "analysis.summaries.transforms",
    "diff": "analysis.differences.run_difference",
    "drift": "analysis.summaries.transforms",
    "fields": "analysis.reading.tables",
    "figure": "analysis.gallery.figure",
    "gradient_concentration": "analysis.summaries.gradient_concentration",
    "groups": "analysis.summaries.naming.layer_groups",
    "histogram_density": "analysis.summaries.densities",
    "histograms": "analysis.reading.tables",
    "join": "analysis.reading.layer_tables",
    "layers": "analysis.reading.tables",
    "parameters": "analysis.reading.tables",
    "plot": "analysis.gallery.column_figure",
    "runs": "analysis.reading.run_table",
    "spectra": "analysis.reading.tables",
    "steps": "analysis.reading.tables",
    "top_layers": "analysis.reading.layer_tables",
    "units": "analysis.reading.tables",
    "weight_histograms": "analysis.gallery.column_figure",
    "width_slopes": "analysis.summaries.scaling.width_slopes",
    "with_scaled_drift": "analysis.summaries.scaled_drift",
    "with_settings": "analysis.reading.run_table",
}
__all__ = [
    "FIGURES",
    "channel_drift",
    "channels",
    "compare",
    "diff",
    "drift",
    "fields",
    "figure",
    "gradient_concentration",
    "groups",
    "histogram_density",
    "histograms",
    "join",
    "layers",
    "parameters",
    "plot",
    "runs",
    "spectra",
    "steps",
    "top_layers",
    "units",
    "weight_histograms",
    "width_slopes",
    "with_scaled_drift",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {', '.join(__all__)}")
