"""Layers under names that a user chooses, for figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.reading.selection import abbreviated
from probes.schema import LAYER


def check_names(names: Mapping[str, str], layers: Sequence[str]) -> None:
    """Refuse a renaming that names no layer, or gives two layers one name.

    Args:
        names: The new name by layer.
        layers: All layers that there are.

    Raises:
        ValueError: The renaming is refused; the message lists the layers.
    """
    unknown = [name for name in names if name not in layers]
    if unknown:
        raise ValueError(f"no layer {', '.join(unknown)}; there are: {abbreviated(layers, most=24)}")
    after = [names.get(layer, layer) for layer in layers]
    twice = sorted({name for name in after if after.count(name) > 1})
    if twice:
        raise ValueError(f"two layers would be named {', '.join(twice)}: give each a name of its own")


def renamed(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return rows with layers under their new names; layers without a new name keep their name."""
    if LAYER not in rows or not names:
        return rows
    layers = rows[LAYER].astype("category")
    categories = {str(name): names.get(str(name), str(name)) for name in layers.cat.categories}
    return rows.assign(**{LAYER: layers.cat.rename_categories(categories)})
