"""The texts of a figure of curves: title, note, axis labels and reference line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PanelText:
    """Texts of a figure whose panels share one quantity.

    Attributes:
        title: Title of the figure.
        note: How the quantity was computed.
        ylabel: Quantity and unit; empty if the titles of the panels give them.
        xlabel: Abscissa and unit.
        level: Value of the line of reference, or None for no line.
    """

    title: str
    note: str
    ylabel: str = ""
    xlabel: str = "step"
    level: float | None = None
