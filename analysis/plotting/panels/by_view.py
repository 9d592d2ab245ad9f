"""One row of panels per quantity, one panel per arm, one line per layer: views of the same layers below each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve, draw_curves
from analysis.plotting.axes.limits import limits_of, set_limits
from analysis.plotting.axes.nan_marks import mark_nan, runs_with_nan
from analysis.plotting.page import PanelText, legend_entries, write_title
from analysis.plotting.panel_grid import MOST_COLUMNS, name_panel, panels
from analysis.plotting.panels.by_norm import layer_appearances
from analysis.plotting.panels.curve_panels import are_lone, set_steps
from analysis.plotting.style import Appearance
from analysis.reading.tables import records
from analysis.summaries.comparison_arms import ARM, arms_of
from analysis.summaries.transforms import MEAN, SPREAD, SURVIVORS
from probes.schema import STEP

PLACE = "place"  # index of a layer among the layers shown, from 0


def draw_by_view(
    figure: Figure,
    views: Mapping[str, pd.DataFrame],
    lines: Sequence[str],
    text: PanelText,
    *,
    band: str = SPREAD,
) -> None:
    """Draw a row of panels for each view, a column for each arm; all panels of a row have one scale.

    Args:
        figure: An empty figure.
        views: Tables of :func:`analysis.summaries.transforms.over_runs` by words, each with a column ``place``.
        lines: Names of the places, from input to output.
        text: Title, note, axis labels and line of reference.
        band: Column with half the height of the band.
    """
    together = pd.concat(views.values(), ignore_index=True)
    arms = [arm[ARM] for arm in records(arms_of(together))]
    appearances = layer_appearances(list(lines))
    looks = list(appearances.values())
    tables = {(view, arm): table[table[ARM] == arm] for view, table in views.items() for arm in arms}
    curves = {key: _curves(mine, looks, band=band) for key, mine in tables.items()}
    side_by_side = len(arms) <= MOST_COLUMNS
    grid = panels(figure, len(curves), height=1.75, columns=len(arms) if side_by_side else 3, sharey=False)
    limits = {
        view: limits_of(
            [curve for key, group in curves.items() if key[0] == view for curve in group], signed=text.level == 0
        )
        for view in views
    }
    set_steps(grid, together)
    for axes, ((view, arm), group) in zip(grid, curves.items(), strict=True):
        name_panel(axes, view, arm=arm)
        if text.level is not None:
            axes.axhline(text.level, color="#9a9a9a", linewidth=0.7, zorder=1)
        draw_curves(axes, group)
        set_limits(axes, limits[view], group)
        if side_by_side:
            axes.label_outer()
        mine = tables[view, arm]
        if len(mine):
            mark_nan(axes, mine, runs_with_nan(mine), x=STEP, curves=group)
    legend = legend_entries(appearances, lone=are_lone({" ".join(key): group for key, group in curves.items()}))
    write_title(figure, text.title, text.note, legend, formula=text.formula, xlabel=text.xlabel, ylabel=text.ylabel)


def _curves(rows: pd.DataFrame, looks: Sequence[Appearance], *, band: str) -> list[Curve]:
    by_place = {place: rows[rows[PLACE] == place].sort_values(STEP) for place in range(len(looks))}
    return [
        Curve(
            x=mine[STEP].to_numpy("float64"),
            y=mine[MEAN].to_numpy("float64"),
            color=looks[place].color,
            dashes=looks[place].dashes,
            marker=looks[place].marker,
            half_band=mine[band].to_numpy("float64"),
            outlined=band != SPREAD,
            survivors=mine[SURVIVORS].to_numpy("float64"),
        )
        for place, mine in by_place.items()
        if len(mine)
    ]
