"""The layers that a figure shows by default: those with a weight matrix, as many as are readable."""

from __future__ import annotations

import re

import pandas as pd

from analysis.reading.selection import Patterns, spread_over
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE

NETWORKS_OF_A_GAN = ("critic", "discriminator", "generator")
_NORMALISATION = re.compile(r"norm|cent(er|r)", re.IGNORECASE)


def is_normalisation(layer_type: str) -> bool:
    """Tell whether a module type normalises or centres its input and so has no weight matrix.

    >>> [is_normalisation(name) for name in ("BatchNorm2d", "MeanCentring", "Conv2d", "Linear")]
    [True, True, False, False]
    """
    return bool(_NORMALISATION.search(layer_type))


def in_depth_order(table: pd.DataFrame) -> list[str]:
    """Return the layers of a table from input to output."""
    depth = table.groupby(LAYER, observed=True)[LAYER_INDEX].min().to_dict()
    return sorted(map(str, depth), key=lambda name: (depth[name], name))


def weight_layers(table: pd.DataFrame, asked: Patterns) -> pd.DataFrame:
    """Return the rows of layers with a weight matrix, or all rows if layers were asked for by name.

    A table with no such layer is returned whole.
    """
    if asked is not None:
        return table
    # By the few distinct types: a test of every row would cost more than all else here.
    normalising = [name for name in table[LAYER_TYPE].unique() if is_normalisation(str(name))]
    kept = table[~table[LAYER_TYPE].isin(normalising)]
    return kept if len(kept) else table


def readable(table: pd.DataFrame, asked: Patterns, *, most: int) -> pd.DataFrame:
    """Return the rows of at most ``most`` layers, evenly spaced in depth, or all if layers were asked for by name."""
    if asked is not None:
        return table
    return table[table[LAYER].astype(str).isin(spread_over(in_depth_order(table), most=most))]


def with_choice(note: str, table: pd.DataFrame, *, of: int) -> str:
    """Return a note with the number of layers that a figure shows, if it does not show all."""
    shown = table[LAYER].nunique()
    return f"{note}; {shown} of {of} layers" if shown < of else note
