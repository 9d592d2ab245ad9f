"""The operator norm of every layer. The store holds only those that differ from the spectral norm."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.summaries.subsets import was_measured
from probes.schema import LAYER_TYPE, RUN, STEP

SPECTRAL, OPERATOR = "spectral_norm", "operator_norm"


def with_operator_norms(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the steps at which operator norms were measured, with an operator norm in every row.

    A layer that is no convolution multiplies by its matrix: its operator norm is the spectral norm. Steps at which a
    spectral norm is not finite are kept too: there the network has no bound.

    Args:
        rows: Table ``layers`` with ``spectral_norm`` and, unless the network has no convolution, ``operator_norm``.

    Raises:
        ValueError: The network has convolutions and the table has no operator norm of them.
    """
    convolution = rows[LAYER_TYPE].astype(str).str.startswith("Conv")
    measured = rows[OPERATOR].astype("float64") if OPERATOR in rows else pd.Series(np.nan, rows.index)
    recorded = was_measured(rows, OPERATOR)
    if convolution.any() and not recorded.any():
        raise ValueError(
            "column operator_norm of table 'layers' is null for all convolutions: record the group operator_norm"
        )
    known = recorded | ~np.isfinite(rows[SPECTRAL]) | (not convolution.any())
    at_step = known.groupby([rows[RUN], rows[STEP]]).transform("any")
    operator = measured.where(convolution, rows[SPECTRAL].astype("float64"))
    return rows.assign(**{OPERATOR: operator})[at_step]
