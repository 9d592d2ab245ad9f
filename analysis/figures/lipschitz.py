"""Product of the layers' operator norms, and the complexity of Neyshabur et al., from the layers' norms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plotting.figure_spec import FigureSpec, Prepared
from analysis.plotting.panels.by_quantity import draw_by_quantity
from analysis.plotting.panels.panel_text import PanelText
from analysis.summaries.comparison_arms import ARM, ARM_ORDER, NORM
from analysis.summaries.layer_choice import weight_layers
from analysis.summaries.operator_norms import with_operator_norms
from analysis.summaries.transforms import over_runs
from probes.schema import RUN, STEP

PRODUCT, COMPLEXITY, QUANTITY = "operator_norm_product", "neyshabur_complexity", "quantity"
_TITLES = {PRODUCT: "product of operator norms", COMPLEXITY: "Neyshabur complexity"}


@dataclass(frozen=True, kw_only=True)
class Lipschitz(FigureSpec):
    """Products over the layers, as powers of ten; one panel per quantity, one line per norm.

    What normalisation layers scale by is in neither. Product of operator norms: of the layers with a weight matrix; it
    bounds the network's Lipschitz constant only where the layers are a chain without batch norm, and table ``steps``
    has the bound of the whole network as ``lipschitz_bound``. Neyshabur complexity: the product of the spectral norms
    times the root of the summed stable ranks, which the bound of Neyshabur et al. (2018) grows with; the paper's Eq. 4,
    column ``spectral_complexity`` of table ``steps``, has another sum beside the product.
    """

    name = "lipschitz"
    title = "Products of the layers' norms"
    columns = ("spectral_norm", "stable_rank")
    patterns = ("operator_norm", "spectral_norm")  # a network without convolutions has no operator norms of its own

    def prepare(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return log10 of both over runs, a row for each arm, ``quantity`` and step."""
        rows = with_operator_norms(weight_layers(rows, self.layers))
        logs = rows[[RUN, ARM, ARM_ORDER, NORM, STEP]].copy()
        logs["operator"] = log10(rows["operator_norm"])
        logs["spectral"] = log10(rows["spectral_norm"])
        logs["rank"] = rows["stable_rank"].astype("float64")
        sums = logs.groupby([RUN, ARM_ORDER, ARM, NORM, STEP], observed=True).sum(min_count=1).reset_index()
        whole = logs.isna().groupby([rows[RUN], rows[STEP]], observed=True).any().any(axis="columns")
        broken = whole.reindex(pd.MultiIndex.from_frame(sums[[RUN, STEP]])).to_numpy()
        values = {PRODUCT: sums["operator"], COMPLEXITY: sums["spectral"] + 0.5 * log10(sums["rank"])}
        parts = [
            over_runs(sums.assign(value=value.mask(broken)), column="value", by=(STEP,)).assign(**{QUANTITY: name})
            for name, value in values.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def draw(self, figure: Figure, prepared: Prepared) -> None:
        """Draw one panel per quantity."""
        table = prepared.table
        draw_by_quantity(
            figure,
            {title: table[table[QUANTITY] == name] for name, title in _TITLES.items()},
            PanelText(
                self.title,
                "left: ∏ operator norm; right: ∏ spectral norm · √(Σ stable rank); normalisation layers not counted",
                "log₁₀",
            ),
        )


def log10(values: pd.Series) -> pd.Series:
    """Return the decimal logarithm in double precision: NaN of NaN, minus infinity of zero."""
    with np.errstate(divide="ignore"):
        return values.astype("float64").map(np.log10)
