"""Histograms and spectra for the page's step slider: for each layer the density by run and step, on common bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.depth_order import layer_names
from analysis.reading.selection import spread_over
from analysis.reading.store import Store
from analysis.reading.tables import fields_if_any, load
from analysis.report.packing import packed, rounded
from analysis.summaries.densities import Histogram, density, half_width
from probes.schema import HISTOGRAMS, LAYER, RUN, SPECTRA, STEP, TENSOR, VIEW, bin_edges

BINS = 61
MOST_RANKS = 64
_SHARE = 0.995  # share of the finite elements that the bins of a layer cover


@dataclass(frozen=True)
class Extent:
    """How much of the histograms and spectra a page holds.

    Attributes:
        runs: Largest number of runs.
        layers: Largest number of layers, spread over the depth; layers of findings come first.
        steps: Largest number of steps per layer, the first and the last among them.
    """

    runs: int = 20
    layers: int = 6
    steps: int = 16


def distributions(
    store: Store, table: str, runs: Sequence[str], *, first: Sequence[str] = (), extent: Extent | None = None
) -> list[dict[str, Any]]:
    """Return the distributions of a table, one item per layer and tensor (or view); empty if none were recorded.

    Args:
        store: The store.
        table: ``"histograms"``: densities over values. ``"spectra"``: singular values over their rank.
        runs: The runs.
        first: Layers that are taken before others.
        extent: How much is taken; None takes as much as an offline page holds.
    """
    extent = extent or Extent()
    chosen = list(runs)[: extent.runs]
    if not chosen or not fields_if_any(store, table, runs=chosen):
        return []
    names = layer_names(store, table=table, runs=chosen)
    wanted = [name for name in dict.fromkeys(first) if name in names][: extent.layers // 2]
    wanted += spread_over([name for name in names if name not in wanted], most=extent.layers - len(wanted))
    # Layers are chosen by position: a name may contain characters that are wildcards in a pattern.
    rows = load(store, table, runs=chosen, layers=[place for place, name in enumerate(names) if name in wanted])
    kind = TENSOR if table == HISTOGRAMS else VIEW
    describe = _densities if table == HISTOGRAMS else _singular_values
    return [
        {"layer": str(layer), "kind": str(what), **describe(_at_steps(group, extent.steps))}
        for (layer, what), group in rows.groupby([LAYER, kind], observed=True, sort=True)
    ]


def layers_with(store: Store, table: str, runs: Sequence[str]) -> list[str]:
    """Return the layers that have rows in a table, in forward order."""
    return layer_names(store, table=table, runs=list(runs)) if fields_if_any(store, table, runs=list(runs)) else []


def _at_steps(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    steps = np.sort(rows[STEP].unique())
    if len(steps) > most:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]
    return rows[rows[STEP].isin(steps)].sort_values([RUN, STEP], kind="stable")


def _densities(rows: pd.DataFrame) -> dict[str, Any]:
    found = [_histogram(row) for row in rows.itertuples()]
    width = max((half_width(one, _SHARE) for one in found), default=0.0) or 1.0
    edges = np.linspace(-width, width, BINS + 1)
    values = [density(one, edges) for one in found]
    broken = [one.n_nonfinite / one.n if one.n else 0.0 for one in found]
    centres = (edges[:-1] + edges[1:]) / 2
    return {"x": [float(f"{x:.5g}") for x in centres], "nonfinite": broken, **_series(rows, values)}


def _histogram(row: Any) -> Histogram:
    counts = np.asarray(row.counts, dtype=np.int64)
    edges = bin_edges(int(row.first_bin), len(counts), mantissa_bits=int(row.mantissa_bits))
    return Histogram(edges, counts, int(row.n), int(row.n_zero), int(row.n_nonfinite))


def _singular_values(rows: pd.DataFrame) -> dict[str, Any]:
    stored = [np.asarray(values, dtype="float64") for values in rows["singular_values"]]
    length = max(map(len, stored), default=0)
    ranks = np.unique(np.geomspace(1, max(length, 1), MOST_RANKS).round().astype(int))
    values = [np.array([one[rank - 1] if rank <= len(one) else np.nan for rank in ranks]) for one in stored]
    return {
        "x": ranks.tolist(),
        "nonfinite": [float(np.isnan(one).mean()) if len(one) else 0.0 for one in stored],
        **_series(rows, values),
    }


def _series(rows: pd.DataFrame, values: Sequence[np.ndarray]) -> dict[str, Any]:
    together = np.concatenate(values) if values else np.zeros(0)
    lengths = np.array([len(one) for one in values])
    return {
        "runs": [str(run) for run in rows[RUN]],
        "steps": [int(step) for step in rows[STEP]],
        "y": packed(rounded(together, lengths)),
    }


TABLES = (HISTOGRAMS, SPECTRA)
