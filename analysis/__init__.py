"""Tables, figures and reports from a store. Never imports torch.

``analysis.layers("runs")`` is a DataFrame, ``analysis.figure("mean_drift", "runs")`` a matplotlib figure. Names are
looked up on first use, so importing this package loads neither pandas nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.densities import histogram_density as histogram_density
    from analysis.drawing import figure as figure
    from analysis.figures import FIGURES as FIGURES
    from analysis.run_table import runs as runs
    from analysis.run_table import with_settings as with_settings
    from analysis.tables import fields as fields
    from analysis.tables import histograms as histograms
    from analysis.tables import layers as layers
    from analysis.tables import spectra as spectra
    from analysis.tables import steps as steps
    from analysis.transforms import compare as compare
    from analysis.transforms import drift as drift

_HOMES = {
    "FIGURES": "analysis.figures",
    "compare": "analysis.transforms",
    "drift": "analysis.transforms",
    "fields": "analysis.tables",
    "figure": "analysis.drawing",
    "histogram_density": "analysis.densities",
    "histograms": "analysis.tables",
    "layers": "analysis.tables",
    "runs": "analysis.run_table",
    "spectra": "analysis.tables",
    "steps": "analysis.tables",
    "with_settings": "analysis.run_table",
}
__all__ = [
    "FIGURES",
    "compare",
    "drift",
    "fields",
    "figure",
    "histogram_density",
    "histograms",
    "layers",
    "runs",
    "spectra",
    "steps",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {', '.join(__all__)}")
