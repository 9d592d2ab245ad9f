"""The series of the report's charts: one column per chart, thinned to the resolution of a screen."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.plotting.column_words import axis_label, definition
from analysis.reading.store import AnyStore, Store
from analysis.reading.tables import fields_if_any, load
from analysis.summaries.densities import central_range, pooled, rebinned
from analysis.summaries.layer_choice import in_depth_order, readable, weight_layers
from analysis.summaries.nonlinearities.layers_before import with_feeds
from analysis.summaries.transforms import drift
from probes.schema import FEEDS, HISTOGRAMS, LAYER, LAYERS, RUN, SPLIT, STEP, STEPS, Column

MOST_NUMBERS = 1_500_000  # in a page: about 8 MB of text
MOST_RECORDS = 400  # a line
FEWEST_RECORDS = 40
HISTOGRAM_BINS, HISTOGRAM_STEPS, HISTOGRAM_LAYERS = 61, 24, 6


@dataclass(frozen=True)
class Chart:
    """A chart of one column.

    Attributes:
        name: Name of the figure whose interactive version it is, or of its column.
        title: Title of the figure.
        table: The table the column is in.
        column: The column.
        log: Whether its axis is logarithmic at first.
        from_start: Whether the first recorded value is subtracted.
        before_nonlinearity: Whether it shows the layers before a nonlinearity, and not those with a weight matrix.
    """

    name: str
    title: str
    table: str
    column: str
    log: bool = False
    from_start: bool = False
    before_nonlinearity: bool = False


CHARTS = (
    Chart("accuracy", "Accuracy", STEPS, "accuracy"),
    Chart("loss", "Loss", STEPS, "loss", log=True),
    Chart("mean_drift", "Drift of the weight mean", LAYERS, "weight_mean", from_start=True),
    Chart("gradient_sparsity", "Sparsity of the gradient", LAYERS, "grad_sparsity"),
    Chart("singular_values", "Mean singular value", LAYERS, "singular_value_mean"),
    Chart("spectral_norm", "Spectral norm of the unfolded matrix", LAYERS, "spectral_norm"),
    Chart("operator_norm", "Operator norm of the layer", LAYERS, "operator_norm"),
    Chart("activation_drift", "Drift of the channel means", LAYERS, "activation_drift", before_nonlinearity=True),
    Chart("dead_fraction", "Dead channels", LAYERS, "dead_fraction", before_nonlinearity=True),
    Chart("gradient_variance", "Variance of the gradient", LAYERS, "grad_var", log=True),
    Chart("gradient_norm", "L2 norm of the gradient", LAYERS, "grad_l2_norm", log=True),
    Chart("update_size", "Size of the update relative to the weight", LAYERS, "update_ratio", log=True),
)


def charts(store: AnyStore, runs: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the charts that the store has the columns for, and the columns it lacks."""
    opened = Store.open(store)
    drawn, absent = [], []
    for chart, rows, column in _measured(opened, runs):
        if rows is None or column is None:
            absent.append(chart.column)
        else:
            drawn.append(_as_data(chart, _chosen(chart, rows, opened), column, opened.name))
    return drawn, absent


def _measured(store: Store, runs: Sequence[str]) -> Iterator[tuple[Chart, pd.DataFrame | None, Column | None]]:
    described = {table: fields_if_any(store, table, runs=runs) for table in (STEPS, LAYERS)}
    for chart in CHARTS:
        column = described.get(chart.table, {}).get(chart.column)
        if column is None:
            yield chart, None, None
            continue
        rows = load(store, chart.table, columns=[chart.column], runs=runs, measured=[chart.column])
        yield chart, rows if len(rows) else None, column


def _chosen(chart: Chart, rows: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Return the rows of the layers that a chart shows; of all of them where the choice leaves none."""
    if chart.table != LAYERS:
        return rows
    if not chart.before_nonlinearity:
        return weight_layers(rows, None)
    rows = with_feeds(rows, store)
    return rows[rows[FEEDS]] if rows[FEEDS].any() else rows


def _as_data(chart: Chart, rows: pd.DataFrame, column: Column, store: str) -> dict[str, Any]:
    if chart.table == STEPS:
        rows = rows.assign(**{LAYER: rows[SPLIT].astype(str) + " data"})
        names = sorted(rows[LAYER].unique(), key=lambda text: (text != "test data", text))
    else:
        names = in_depth_order(rows)
    values = drift(rows, column=chart.column) if chart.from_start else rows[chart.column]
    since = ", minus its value at the first record" if chart.from_start else ""
    return {
        "name": chart.name,
        "title": chart.title,
        "label": ("drift of the " if chart.from_start else "") + axis_label(column),
        "note": definition(column) + since,
        "log": chart.log,
        "layers": names,
        "byDepth": chart.table == LAYERS,
        "series": _series(rows.assign(value=values)),
        "pandas": _pandas(chart, store),
    }


def _pandas(chart: Chart, store: str) -> str:
    columns = '["layer", "run"]' if chart.table == LAYERS else '["split", "run"]'
    folder = json.dumps(f"{store}/{chart.table}", ensure_ascii=False)
    start = f'pd.read_parquet({folder}).pivot_table(index="step", columns={columns}, '
    since = ".pipe(lambda df: df - df.iloc[0])" if chart.from_start else ""
    return f'{start}values="{chart.column}", observed=True){since}.plot()'


def _series(rows: pd.DataFrame) -> list[dict[str, str]]:
    groups = list(rows.groupby([LAYER, RUN], observed=True))
    most = max(FEWEST_RECORDS, min(MOST_RECORDS, MOST_NUMBERS // (2 * len(CHARTS) * max(len(groups), 1))))
    return [{"run": str(run), "layer": str(layer), **_line(group, most)} for (layer, run), group in groups]


def _line(rows: pd.DataFrame, most: int) -> dict[str, str]:
    rows = rows.sort_values(STEP, kind="stable")
    stride = max(1, -(-len(rows) // most))
    values = rows["value"].to_numpy("float32")
    return {"x": packed(rows[STEP].to_numpy("float32")[::stride]), "y": packed(thinned(values, stride))}


def thinned(values: np.ndarray, stride: int) -> np.ndarray:
    """Return every ``stride``-th value, but NaN where any of the values it stands for is not finite."""
    starts = np.arange(0, len(values), stride)
    broken = np.logical_or.reduceat(~np.isfinite(values), starts) if len(values) else np.zeros(0, bool)
    return np.where(broken, np.float32(np.nan), values[::stride]).astype("float32")


def packed(values: np.ndarray) -> str:
    """Return numbers as base64 of little-endian float32, which the page unpacks."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def histograms(store: AnyStore, runs: Sequence[str]) -> dict[str, Any] | None:
    """Return gradient densities by layer, run and step, all of a layer on the same bins; None if none were recorded."""
    opened = Store.open(store)
    if not fields_if_any(opened, HISTOGRAMS, runs=runs):
        return None
    rows = load(opened, HISTOGRAMS, runs=runs)
    rows = readable(weight_layers(rows[rows["tensor"] == "gradient"], None), None, most=HISTOGRAM_LAYERS)
    if rows.empty:
        return None
    steps = np.sort(rows[STEP].unique())
    steps = steps[:: max(1, -(-len(steps) // HISTOGRAM_STEPS))]
    rows = rows[rows[STEP].isin(steps)]
    layers = {name: _densities(rows[rows[LAYER] == name]) for name in in_depth_order(rows)}
    return {"bins": HISTOGRAM_BINS, "steps": [int(step) for step in steps], "layers": layers}


def _densities(rows: pd.DataFrame) -> dict[str, Any]:
    half_width = central_range(rows, share=0.995)
    edges = np.linspace(-half_width, half_width, HISTOGRAM_BINS + 1)
    series = []
    for run, of_run in rows.groupby(RUN, observed=True):
        for step in np.sort(of_run[STEP].unique()):
            density = rebinned(pooled(of_run[of_run[STEP] == step]), edges)["density"].to_numpy()
            series.append({"run": str(run), "step": int(step), "y": packed(density)})
    return {"halfWidth": half_width, "series": series}
