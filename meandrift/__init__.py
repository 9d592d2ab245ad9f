"""Attach probes to a PyTorch training, read everything back as DataFrames and figures.

    import meandrift as md

    with md.Probe(model, optimizer, run="first") as probe: ...
    md.layers("runs")
    md.findings("runs")
    md.figure("mean_drift", "runs")

``md.Probe`` is :class:`probes.Probe` with findings and figures of its run. The packages ``dynamics``, ``probes`` and
``analysis`` are loaded from the folder beside this package, so that files with these names in the working folder do not
hide them. Names are looked up on first use: importing this module loads no torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import (
        FIGURES,
        channel_drift,
        channels,
        compare,
        diff,
        drift,
        fields,
        figure,
        gradient_concentration,
        groups,
        histogram_density,
        histograms,
        join,
        layers,
        parameters,
        plot,
        spectra,
        steps,
        top_layers,
        units,
        weight_histograms,
        width_slopes,
        with_scaled_drift,
        with_settings,
    )
    from analysis.query import query
    from dynamics.norms import convert, fold
    from meandrift.coordinates import coordinate_check
    from meandrift.probe import Probe
    from meandrift.tables import findings, runs
    from probes import Recorder
    from probes.checkpoints.inspection import inspect
    from probes.metrics import metric
    from probes.schema import Column

_HERE = Path(__file__).resolve().parents[1]
_HOMES = {
    "Probe": "meandrift.probe",
    "Recorder": "probes",
    "coordinate_check": "meandrift.coordinates",
    "inspect": "probes.checkpoints.inspection",
    "metric": "probes.metrics",
    "Column": "probes.schema",
    "FIGURES": "analysis",
    "channel_drift": "analysis",
    "channels": "analysis",
    "compare": "analysis",
    "diff": "analysis",
    "drift": "analysis",
    "fields": "analysis",
    "figure": "analysis",
    "gradient_concentration": "analysis",
    "groups": "analysis",
    "histogram_density": "analysis",
    "histograms": "analysis",
    "join": "analysis",
    "layers": "analysis",
    "parameters": "analysis",
    "plot": "analysis",
    "runs": "meandrift.tables",
    "spectra": "analysis",
    "steps": "analysis",
    "top_layers": "analysis",
    "units": "analysis",
    "weight_histograms": "analysis",
    "width_slopes": "analysis",
    "with_scaled_drift": "analysis",
    "with_settings": "analysis",
    "findings": "meandrift.tables",
    "query": "analysis.query",
    "convert": "dynamics.norms",
    "fold": "dynamics.norms",
}
__all__ = [
    "FIGURES",
    "Column",
    "Probe",
    "Recorder",
    "channel_drift",
    "channels",
    "compare",
    "convert",
    "coordinate_check",
    "diff",
    "drift",
    "fields",
    "figure",
    "findings",
    "fold",
    "gradient_concentration",
    "groups",
    "histogram_density",
    "histograms",
    "inspect",
    "join",
    "layers",
    "metric",
    "parameters",
    "plot",
    "query",
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


def _load(name: str) -> None:
    """Load a package from the folder beside this package, whatever the order of ``sys.path``.

    Raises:
        ImportError: Another module of that name is loaded already.
    """
    home = _HERE / name / "__init__.py"
    loaded = sys.modules.get(name)
    if loaded is None:
        spec = spec_from_file_location(name, home, submodule_search_locations=[str(home.parent)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        return
    file = getattr(loaded, "__file__", None)
    if file is None or Path(file).resolve() != home:
        raise ImportError(
            f"meandrift needs its own package {name!r}, and another module of that name is loaded from "
            f"{file or 'an unknown place'}: rename that module, or import meandrift before it"
        )


for _name in ("probes", "analysis", "dynamics"):
    _load(_name)

try:
    __version__ = version("meandrift")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'meandrift' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
