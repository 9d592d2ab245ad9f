"""The names of layers and of parameters in depth order, from input to output."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.dataset as ds

from analysis.reading.selection import Patterns
from analysis.reading.store import AnyStore, Store
from analysis.reading.table_dataset import FRUGALLY
from probes import schema

INDEX = {schema.LAYER: schema.LAYER_INDEX, schema.PARAMETER: schema.PARAMETER_INDEX}


def layer_names(store: AnyStore, *, table: str = schema.LAYERS, runs: Patterns = None) -> list[str]:
    """Return the names of the observed layers in depth order."""
    opened = Store.open(store)
    return opened.retrying(lambda: names_in_order(opened.dataset(table, runs)))


def name_column(stored: pa.Schema) -> str:
    """Return the key that a table's rows are named by: the layer, or the parameter."""
    return schema.PARAMETER if schema.PARAMETER in stored.names else schema.LAYER


def names_in_order(dataset: ds.Dataset) -> list[str]:
    """Return the names of a data set's layers, or of its parameters, in depth order."""
    name = name_column(dataset.schema)
    return by_depth(dataset.to_table(columns=[name, INDEX[name]], **FRUGALLY), name)


def by_depth(rows: pa.Table, name: str) -> list[str]:
    """Return the layers (or parameters) ordered by their mean index in the runs, and by name if the means are equal."""
    pairs = rows.select([name, INDEX[name]]).unify_dictionaries()
    means = pairs.group_by(name).aggregate([(INDEX[name], "mean")]).to_pydict()
    named = zip(means[name], means[f"{INDEX[name]}_mean"], strict=True)
    depth = {one: math.inf if mean is None else mean for one, mean in named if one is not None}
    return sorted(depth, key=lambda one: (depth[one], one))
