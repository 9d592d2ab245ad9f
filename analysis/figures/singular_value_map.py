"""The mean singular value of every layer at every step."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.figures.overview import Overview


@dataclass(frozen=True, kw_only=True)
class SingularValueMap(Overview):
    """Heat map of the singular values, layer by step, drawn as in :class:`Overview`.

    Attributes:
        column: ``singular_value_mean``, ``spectral_norm``, ``stable_rank`` or any other column.
    """

    column: str = "singular_value_mean"
    name = "singular_value_map"
    title = "Singular values over depth and time"
