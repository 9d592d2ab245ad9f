"""The size of each optimizer step relative to the weight."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.plotting.panels.layer_lines import LayerLines


@dataclass(frozen=True, kw_only=True)
class UpdateSize(LayerLines):
    """Length of the update relative to the length of the weight, by layer."""

    name = "update_size"
    title = "Size of the update relative to the weight"
    columns = ("update_ratio",)
    log = True
    level = 1e-3
    level_note = "; grey: 10⁻³, a common rule of thumb"
