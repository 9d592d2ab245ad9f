"""Finding "vanishing": the gradient norm of a layer falls to a small share of its largest value."""

from __future__ import annotations

import pandas as pd

from analysis.findings.finding import VALUE, Finding, Thresholds, first_above
from probes.schema import LAYER, LAYERS, RUN

_KIND, _COLUMN = "vanishing", "grad_l2_norm"


def vanishing_gradient(layers: pd.DataFrame, steps: pd.DataFrame, limits: Thresholds) -> pd.DataFrame:  # noqa: ARG001
    """Return the layers whose gradient norm is below a share of its largest; ``value`` is that share."""

    def negative_share(rows: pd.DataFrame) -> pd.Series:
        return -rows[_COLUMN] / rows.groupby([RUN, LAYER], observed=True)[_COLUMN].transform("max")

    found = first_above(layers, [_COLUMN], negative_share, -limits.vanished, kind=_KIND, text="")
    shares = -found[VALUE]
    return found.assign(value=shares, message=[f"the gradient norm is {share:.2g} of its largest" for share in shares])


FINDING = Finding(_KIND, {LAYERS: (_COLUMN,)}, vanishing_gradient)
