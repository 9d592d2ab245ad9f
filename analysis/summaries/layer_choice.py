"""The layers that a figure shows by default: those with a weight matrix, as many as are readable."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from analysis.reading.selection import Patterns, spread_over
from probes.schema import LAYER, LAYER_INDEX, LAYER_TYPE

CONVOLUTIONS = 99  # of the paper's DenseNet-BC-100; the paper shows its layers by number
FEW_LAYERS = 8  # a network with no more layers is shown whole
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
    # Only the few distinct types are tested: a test of every row would cost more than the rest of this function.
    normalising = [name for name in table[LAYER_TYPE].unique() if is_normalisation(str(name))]
    kept = table[~table[LAYER_TYPE].isin(normalising)]
    return kept if len(kept) else table


def readable(table: pd.DataFrame, asked: Patterns, *, most: int, all_up_to: int = 0) -> pd.DataFrame:
    """Return the rows of at most ``most`` layers, evenly spaced in depth.

    All rows are returned if layers were asked for by name, or if there are no more than ``all_up_to`` layers.
    """
    names = in_depth_order(table)
    if asked is not None or len(names) <= all_up_to:
        return table
    return table[table[LAYER].astype(str).isin(spread_over(names, most=most))]


def convolutions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the convolutions; without any, the rows of all layers with a weight matrix."""
    kinds = [name for name in table[LAYER_TYPE].unique() if str(name).startswith("Conv")]
    found = table[table[LAYER_TYPE].isin(kinds)]
    return found if len(found) else weight_layers(table, None)


def published_layers(layers: Sequence[str], published: Sequence[int]) -> list[str]:
    """Return the layers at the same relative depth as the published layers.

    In DenseNet-BC-100 they are the published layers themselves. A network with a few layers has all of them.

    >>> published_layers(["a", "b", "c"], [44])
    ['a', 'b', 'c']
    >>> published_layers([str(i) for i in range(99)], [44, 56]), published_layers([str(i) for i in range(50)], [44, 56])
    (['44', '56'], ['22', '28'])
    """
    if len(layers) <= FEW_LAYERS:
        return list(layers)
    scale = (len(layers) - 1) / (CONVOLUTIONS - 1)
    return [layers[place] for place in dict.fromkeys(round(number * scale) for number in published)]


def with_choice(note: str, table: pd.DataFrame, *, of: int) -> str:
    """Return a note with the number of layers that a figure shows, if it does not show all."""
    shown = table[LAYER].nunique()
    return f"{note}; {shown} of {of} layers" if shown < of else note
