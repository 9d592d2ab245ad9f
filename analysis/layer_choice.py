"""Which layers a figure shows when nobody says: those with a weight matrix, and no more than the eye can follow."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from analysis.selection import Patterns, spread_over
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE

_NORMALISATION = re.compile(r"norm|cent(er|r)", re.IGNORECASE)


def is_normalisation(layer_type: str) -> bool:
    """Tell whether a module type normalises or centres its input and so has no weight matrix.

    >>> [is_normalisation(name) for name in ("BatchNorm2d", "MeanCentring", "Conv2d", "Linear")]
    [True, True, False, False]
    """
    return bool(_NORMALISATION.search(layer_type))


def in_depth_order(table: pd.DataFrame) -> list[str]:
    """Return the layers of a table from input to output."""
    depth = table.groupby(LAYER, observed=True)[LAYER_INDEX].min()
    return [str(name) for name in depth.sort_values(kind="stable").index]


def weight_layers(table: pd.DataFrame, asked: Patterns) -> pd.DataFrame:
    """Return the rows of layers with a weight matrix, or all rows if layers were asked for by name.

    A table with no such layer is returned whole.
    """
    if asked is not None:
        return table
    types = table[LAYER_TYPE].astype(str)
    kept = table[~types.map({name: is_normalisation(name) for name in types.unique()})]
    return kept if len(kept) else table


def readable(table: pd.DataFrame, asked: Patterns, *, most: int) -> pd.DataFrame:
    """Return the rows of at most ``most`` layers, evenly spaced in depth, or all if layers were asked for by name."""
    if asked is not None:
        return table
    return table[table[LAYER].astype(str).isin(spread_over(in_depth_order(table), most=most))]


def counted(shown: Sequence[str], total: int) -> str:
    """Return how many of the layers a figure shows, for its note; empty if it is all of them."""
    return f"{len(shown)} of {total} layers" if len(shown) < total else ""
