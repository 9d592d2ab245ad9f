"""Fig. 6: the singular values of each layer over training, of kernel slices and of the whole matrix."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.column_words import mathtext, with_smoothing
from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.page import PanelText
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.by_view import PLACE, draw_by_view
from analysis.summaries.comparison_arms import ARM, ARM_ORDER
from analysis.summaries.layer_choice import FEW_LAYERS, convolutions, in_depth_order, readable, with_choice
from analysis.summaries.subsets import was_measured
from analysis.summaries.transforms import MEAN, end_together, last_value, over_runs, smoothed
from probes.schema import LAYER, RUN, STEP

UNFOLDED, SLICES = "singular_value_mean", "kernel_singular_value_mean"
COLUMN = "column"
_VIEWS = {SLICES: "kernel slices", UNFOLDED: "whole matrix"}
MOST_NAMED = 4  # arms in the message
_KEYS = ((RUN, STEP), (LAYER,))


@dataclass(frozen=True, kw_only=True)
class SingularValues(FigureSpec):
    """Singular values by layer: above, the largest of each kernel slice, as published; below, the mean of the matrix.

    Only convolutions are shown if the network has any. A network without convolutions has only the lower row.

    Attributes:
        smooth: Number of records in the trailing mean; 1 smooths nothing.
    """

    smooth: int = 1
    name = "singular_values"
    title = "Singular values of each layer"
    columns = (UNFOLDED,)
    patterns = (UNFOLDED, SLICES)
    paper = "Fig. 6"
    published = MappingProxyType({"smooth": 15})
    published_convolutions = (13, 44, 56, 67, 75)

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return both columns over runs, a row for each arm, layer, step and ``column``, with the layer's ``place``."""
        chosen = rows if self.layers is not None else convolutions(rows)
        chosen = readable(chosen, self.layers, most=5, all_up_to=FEW_LAYERS)
        places = {name: place for place, name in enumerate(in_depth_order(chosen))}
        parts = []
        for column in _VIEWS:
            measured = _measured(chosen, column)
            if len(measured):
                table = over_runs(smoothed(measured, column, window=self.smooth), column=column)
                table[COLUMN], table[PLACE] = column, table[LAYER].astype(str).map(places)
                parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw a row of panels for each of the two columns."""
        table = prepared.table
        views = {words: table[table[COLUMN] == name] for name, words in _VIEWS.items() if (table[COLUMN] == name).any()}
        note = " ".join(
            _message(name, table[table[COLUMN] == name]) for name in _VIEWS if (table[COLUMN] == name).any()
        )
        note = note.strip().rstrip(".") or "By layer: of the " + ", and of the ".join(views)
        note = with_choice(with_smoothing(note, self.smooth), table, of=prepared.of_layers)
        formula = ";   ".join(mathtext(prepared.columns[name]) for name in _VIEWS if (table[COLUMN] == name).any())
        text = PanelText(self.title, band_note(note, table), "singular value", formula=formula)
        draw_by_view(figure, views, in_depth_order(table), text)


def _measured(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows of the steps and layers at which the column was measured somewhere."""
    found = was_measured(rows, column)
    at_step, in_layer = (found.groupby([rows[key] for key in keys], observed=True).transform("any") for keys in _KEYS)
    return rows[at_step & in_layer]


def _message(name: str, table: pd.DataFrame) -> str:
    """Return the ratio of the largest to the smallest layer of each arm at the end."""
    arms = [arm for _, arm in last_value(table).groupby([ARM_ORDER, ARM], observed=True)]
    if len(arms) > MOST_NAMED or table[LAYER].nunique() < 2 or not end_together(table):
        return ""
    if any(arm[MEAN].isna().any() for arm in arms):
        return ""
    ratios = [f"{arm[ARM].iloc[0]} {arm[MEAN].max() / arm[MEAN].min():.1f}" for arm in arms]
    return f"Largest over smallest layer at the end, {_VIEWS[name]}: {', '.join(ratios)}."
