"""Fig. 6: the mean singular value of each layer over training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from analysis.plotting.panels.layer_lines import LayerLines


@dataclass(frozen=True, kw_only=True)
class SingularValues(LayerLines):
    """Mean singular value by layer.

    Attributes:
        column: ``singular_value_mean``, of the unfolded matrix, or the paper's ``kernel_singular_value_mean``.
    """

    column: str = "singular_value_mean"
    name = "singular_values"
    title = "Mean singular value of each layer"
    paper = "Fig. 6"
    published = MappingProxyType({"column": "kernel_singular_value_mean", "smooth": 15})
    published_convolutions = (13, 44, 56, 67, 75)

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)
