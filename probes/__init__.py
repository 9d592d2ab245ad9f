"""Probes observe a PyTorch training and write what they see to a Parquet store.

``from probes import Probe`` is all most users need. Importing :mod:`probes` or :mod:`probes.schema` loads no torch: the
names below are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.probe import Probe as Probe
    from probes.storage.recorder import Recorder as Recorder

_HOMES = {"Probe": "probes.probe", "Recorder": "probes.storage.recorder"}
__all__ = ["Probe", "Recorder"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}; it has {', '.join(__all__)}")
