"""A figure of any one column, one line a layer, and one of the histograms of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.gallery.figure import figure, numbers_of
from analysis.plotting.column_words import axis_label, in_words, mathtext, meaning, with_smoothing
from analysis.plotting.figure_spec import Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.by_norm import draw_by_norm
from analysis.plotting.panels.layer_lines import LayerLines
from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore
from analysis.reading.tables import Steps
from analysis.summaries.transforms import MEAN

_DECADES = 100.0  # largest over smallest value from which on the axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class ColumnLines(LayerLines):
    """One column of each layer.

    Attributes:
        column: Any column of table ``layers``.
    """

    column: str
    name: ClassVar[str] = "column"
    title: ClassVar[str] = ""

    def needed(self) -> tuple[str, ...]:
        """Return the chosen column."""
        return (self.column,)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per norm, on a logarithmic axis where the values span decades."""
        column = prepared.columns[self.column]
        note = with_smoothing(meaning(column), self.smooth)
        title = in_words(self.column).capitalize()
        text = PanelText(title, note, axis_label(column), formula=mathtext(column))
        draw_by_norm(figure, prepared.table, text, log=_spans_decades(prepared.table))


def _spans_decades(table: pd.DataFrame) -> bool:
    values = table[MEAN].to_numpy("float64")
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > _DECADES * finite.min())


def plot(
    column: str,
    store: AnyStore,
    *,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    smooth: int = 1,
) -> Figure:
    """Return a figure of a column of table ``layers``: one panel per norm, one line a layer.

    Args:
        column: The column, such as ``"weight_mean"``.
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        layers: Layer names or shell patterns; None draws those with a weight matrix.
        steps: First and last step, both included.
        smooth: Number of records a trailing mean takes.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: There is no such column, run or layer; the message lists those there are.
    """
    return numbers_of(ColumnLines(column=column, layers=layers, smooth=smooth), store, runs=runs, steps=steps).draw()


def weight_histograms(store: AnyStore, *, runs: Patterns = None, steps: Steps = None, **options: Any) -> Figure:
    """Return a figure of the distribution of each layer's weights: figure ``gradient_histograms``, of the weights.

    Args:
        store: The store's folder or URL, or an open Store.
        runs: Run ids or shell patterns; None draws all runs.
        steps: First and last step, both included.
        options: ``layers``, ``at``, ``bins`` and ``log`` of that figure.

    Raises:
        FileNotFoundError: There is no such store.
        ValueError: The store has no histograms of weights, or no such run or layer.
    """
    return figure("gradient_histograms", store, runs=runs, steps=steps, **{"tensor": "weight", **options})
