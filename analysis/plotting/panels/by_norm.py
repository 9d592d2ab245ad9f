"""One panel per arm, one line per layer or per third of the depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plotting.axes.curves import Curve
from analysis.plotting.axes.nan_marks import mark_nan, runs_with_nan
from analysis.plotting.page import PanelText, legend_entries, write_title
from analysis.plotting.panels.arm_curves import band_note
from analysis.plotting.panels.curve_panels import are_lone, draw_panels, set_steps
from analysis.plotting.style import Appearance, depth_colors, depth_dashes, marker
from analysis.summaries.comparison_arms import ARM, ARM_ORDER
from analysis.summaries.layer_choice import FEW_LAYERS, in_depth_order
from analysis.summaries.transforms import MEAN, NAN_RUNS, RAW, SPREAD, SURVIVORS
from probes.schema import LAYER, STEP

THIRDS = ("first", "middle", "last")
QUANTILES = (0.1, 0.9)  # over the layers of a third


def draw_by_norm(
    figure: Figure,
    table: pd.DataFrame,
    text: PanelText,
    *,
    log: bool = False,
    cut: bool = True,
    groups: dict[str, list[str]] | None = None,
) -> None:
    """Draw one panel per arm, with one line per layer, or per third of the depth where there are many layers.

    Args:
        figure: An empty figure.
        table: :func:`analysis.summaries.transforms.over_runs`, a row for each arm, layer and step.
        text: Title, note, axis labels and line of reference.
        log: Whether the quantity spans decades.
        cut: Whether a few outliers may lie outside the limits, marked at the edge.
        groups: Layers whose median is one line, by the name of the line, used if there are many layers; None takes
            thirds of all layers.
    """
    names = in_depth_order(table)
    few = len(names) <= FEW_LAYERS
    groups = {name: [name] for name in names} if few else groups or thirds(names)
    appearances = layer_appearances(list(groups))
    arms = list(table.sort_values(ARM_ORDER)[ARM].unique())
    curves = {
        arm: layer_curves(mine, appearances) if few else third_curves(mine, appearances, groups)
        for arm in arms
        for mine in [table[table[ARM] == arm]]
    }
    grid = draw_panels(figure, curves, height=2.3, log=log, level=text.level, cut=cut)
    set_steps(grid, table)
    mark_broken(grid, curves, table)
    note = band_note(text.note, table) if few else band_note(f"{text.note}; {_third_note(groups)}", table, band=False)
    legend = legend_entries(appearances, lone=are_lone(curves))
    write_title(figure, text.title, note, legend, formula=text.formula, xlabel=text.xlabel, ylabel=text.ylabel)


def thirds(names: list[str]) -> dict[str, list[str]]:
    """Return the layers of the first, the middle and the last third of the depth.

    >>> {words: len(layers) for words, layers in thirds([f"layer {i}" for i in range(10)]).items()}
    {'first 3 layers': 3, 'middle 4 layers': 4, 'last 3 layers': 3}
    """
    one = len(names) // 3
    parts = (names[:one], names[one : len(names) - one], names[len(names) - one :])
    return {f"{word} {len(part)} layers": part for word, part in zip(THIRDS, parts, strict=True)}


def _third_note(groups: dict[str, list[str]]) -> str:
    return f"line: median over {' / '.join(groups)}, band: 10 % to 90 % of them"


def layer_appearances(names: list[str]) -> dict[str, Appearance]:
    """Return the appearance of each layer: dark at the input, light at the output."""
    each = zip(depth_colors(len(names)), depth_dashes(len(names)), map(marker, range(len(names))), strict=True)
    return {name: Appearance(*parts) for name, parts in zip(names, each, strict=True)}


def layer_curves(rows: pd.DataFrame, appearances: dict[str, Appearance]) -> list[Curve]:
    """Return one curve per layer of one arm, with the spread over its runs as band."""
    by_layer = dict(list(rows.sort_values(STEP).groupby(LAYER, observed=True)))
    return [
        Curve(
            x=by_layer[name][STEP].to_numpy("float64"),
            y=by_layer[name][MEAN].to_numpy("float64"),
            color=appearance.color,
            dashes=appearance.dashes,
            marker=appearance.marker,
            half_band=by_layer[name][SPREAD].to_numpy("float64"),
            survivors=by_layer[name][SURVIVORS].to_numpy("float64"),
            raw=by_layer[name][RAW].to_numpy("float64") if RAW in rows else None,
        )
        for name, appearance in appearances.items()
        if name in by_layer
    ]


def third_curves(rows: pd.DataFrame, appearances: dict[str, Appearance], groups: dict[str, list[str]]) -> list[Curve]:
    """Return one curve per third of the depth: the median over its layers, NaN where a layer is not finite."""
    curves = []
    for name, appearance in appearances.items():
        values = rows[rows[LAYER].isin(groups[name])].groupby(STEP)
        if not len(values):
            continue
        finite = values[SURVIVORS]
        whole = (values[NAN_RUNS].sum() == 0).to_numpy()
        low, median, high = (finite.quantile(q).to_numpy("float64") for q in (QUANTILES[0], 0.5, QUANTILES[1]))
        edges = (np.where(whole, low, np.nan), np.where(whole, high, np.nan))
        curves.append(
            Curve(
                x=finite.median().index.to_numpy("float64"),
                y=np.where(whole, median, np.nan),
                color=appearance.color,
                dashes=appearance.dashes,
                marker=appearance.marker,
                edges=edges,
                survivors=median,
                raw=values[RAW].median().to_numpy("float64") if RAW in rows else None,
            )
        )
    return curves


def mark_broken(grid: list[Axes], curves: dict[str, list[Curve]], table: pd.DataFrame) -> None:
    """Mark in each arm's panel the steps at which a layer was not finite, and write the number of such layers."""
    for axes, (arm, drawn) in zip(grid, curves.items(), strict=True):
        mine = table[table[ARM] == arm]
        layers = f"{mine.loc[mine[NAN_RUNS] > 0, LAYER].nunique()} of {mine[LAYER].nunique()} layers"
        mark_nan(axes, mine, f"{runs_with_nan(mine)}\n{layers}", x=STEP, curves=drawn)
