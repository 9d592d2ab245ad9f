"""The slope of a size over the width of a network, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.summaries.transforms import require
from probes.schema import LAYER, STEP

WIDTH, WIDTHS, SLOPE, SLOPE_ERROR = "width", "widths", "slope", "slope_error"


def width_slopes(
    table: pd.DataFrame, *, column: str = "activation_rms", by: Sequence[str] = (LAYER, STEP)
) -> pd.DataFrame:
    """Return the exponent with which a size grows with the width, by least squares.

    ``log2 size = slope log2 width + constant``, over all widths and seeds of a layer and step. A slope of 0 means that
    the size does not depend on the width. A slope of 0.5 means that it grows with the square root of the width. The
    standard error is ``sqrt(SS_residual / (n - 2) / SS_width)`` of n rows; it assumes that the rows are independent.

    Args:
        table: Rows with a ``width``, such as those of :func:`meandrift.coordinate_check`.
        column: The size, in any unit.
        by: Columns that name a series; one slope each, in the order of their values.

    Returns:
        A row for each series, with columns ``by``, ``widths`` (number of different widths), ``slope`` and
        ``slope_error``. The slope is NaN for a single width, and for a series with a size that is null, NaN, infinite
        or not above 0. The error is NaN for two rows.

    Raises:
        ValueError: A column is missing, or a width is not above 0.

    Source: Yang et al. 2021, "Tensor Programs V", appendix D.1.
    """
    require(table, [*by, WIDTH, column])
    if not (table[WIDTH].astype("float64") > 0).all():
        raise ValueError(f"width_slopes: expected widths above 0, got {sorted(set(table[WIDTH]))[:5]}")
    found = [
        (*(key if isinstance(key, tuple) else (key,)), *_fit(rows[WIDTH], rows[column]))
        for key, rows in table.groupby(list(by), observed=True)
    ]
    return pd.DataFrame(found, columns=[*by, WIDTHS, SLOPE, SLOPE_ERROR])


def _fit(width: pd.Series, size: pd.Series) -> tuple[int, float, float]:
    """Return the number of widths, the slope and its standard error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.log2(width.to_numpy("float64")), np.log2(size.to_numpy("float64", na_value=np.nan))
    x = x - x.mean()
    widths, spread = len(np.unique(x)), float(x @ x)
    if widths < 2 or not np.isfinite(y).all():
        return widths, np.nan, np.nan
    slope = float(x @ y) / spread
    residual = y - y.mean() - slope * x
    error = np.sqrt(float(residual @ residual) / (len(x) - 2) / spread) if len(x) > 2 else np.nan
    return widths, slope, float(error)
