"""Finding "exploding": the spectral norm of a layer grows by a large factor."""

from __future__ import annotations

import pandas as pd

from analysis.findings.finding import Finding, Thresholds, first_above
from probes.schema import LAYER, LAYERS, RUN

_KIND, _COLUMN = "exploding", "spectral_norm"


def exploding_norm(layers: pd.DataFrame, steps: pd.DataFrame, limits: Thresholds) -> pd.DataFrame:  # noqa: ARG001
    """Return the layers whose spectral norm has grown by a factor; ``value`` is the growth at the first such step."""

    def growth(rows: pd.DataFrame) -> pd.Series:
        return rows[_COLUMN] / rows.groupby([RUN, LAYER], observed=True)[_COLUMN].transform("first")

    text = "the spectral norm is {value:.3g} times its first value"
    return first_above(layers, [_COLUMN], growth, limits.explosion, kind=_KIND, text=text)


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, exploding_norm)
