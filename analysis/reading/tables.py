"""The tables of a store as DataFrames: the chosen columns, runs, layers and steps.

The choice is pushed down to the Parquet files: other runs are not opened, other columns are not decoded, other row
groups are skipped. Rows come in the order of recording, in step order within a run. Rows in the log of a killed or live
run are among them.

A value that was not measured is null in the store; a measured NaN is NaN. pandas shows both as NaN. The argument
``measured`` keeps the rows in which the named columns were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from analysis.reading.selection import Patterns, abbreviated, matching
from analysis.reading.store import AnyStore, Store
from probes import schema
from probes.schema import Column

Steps = tuple[int | None, int | None] | None
# pyarrow's defaults read whole files ahead, 16 batches at a time: 60 MB for an answer of half a megabyte.
_FRUGALLY: dict[str, Any] = {
    "fragment_scan_options": ds.ParquetFragmentScanOptions(pre_buffer=False),
    "batch_readahead": 2,
    "fragment_readahead": 1,
    "batch_size": 1 << 15,
}


def layers(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of scalars, a row per (run, step, layer).

    Args:
        store: The store's folder or URL, or an open Store.
        columns: Measured columns to read; the keys come with them. None reads all.
        runs: Run ids or shell patterns; None reads all runs.
        layers: Layer names, shell patterns, or positions in depth order; None reads all layers.
        steps: First and last step, both included; None on either side leaves it open.
        measured: Keep the rows in which each of these columns was measured (not null; a measured NaN stays).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store has no such table, column, run or layer; the message lists what it has.
    """
    return load(store, schema.LAYERS, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def histograms(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
) -> pd.DataFrame:
    """Return the table of histograms, a row per (run, step, layer, tensor); arguments as :func:`layers`."""
    return load(store, schema.HISTOGRAMS, columns=columns, runs=runs, layers=layers, steps=steps)


def spectra(store: AnyStore, *, runs: Patterns = None, layers: Patterns = None, steps: Steps = None) -> pd.DataFrame:
    """Return the table of singular spectra, a row per (run, step, layer, view); arguments as :func:`layers`."""
    return load(store, schema.SPECTRA, runs=runs, layers=layers, steps=steps)


def steps(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of losses and accuracies, a row per (run, step, split); arguments as :func:`layers`."""
    return load(store, schema.STEPS, columns=columns, runs=runs, steps=steps, measured=measured)


def load(
    store: AnyStore,
    table: str,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return one table of a store; arguments and errors as :func:`layers`."""
    opened = Store.open(store)

    def read() -> pd.DataFrame:
        dataset = opened.dataset(table, runs)
        return _read(dataset, table, columns=columns, layers=layers, steps=steps, measured=measured)

    return opened.retrying(read)


def fields(store: AnyStore, table: str, *, runs: Patterns = None) -> dict[str, Column]:
    """Return a table's measured columns with the unit, formula and reference that the store's files give them."""
    keys, opened = _keys(table), Store.open(store)
    described = {}
    for field in opened.retrying(lambda: opened.dataset(table, runs)).schema:
        metadata = field.metadata or {}
        if field.name not in keys:
            facts = {key.decode(errors="replace"): text.decode(errors="replace") for key, text in metadata.items()}
            known = {name: facts.get(name, "") for name in ("unit", "formula", "tensor", "reference")}
            described[field.name] = Column(field.name, type=field.type, **known)
    return described


def fields_if_any(store: AnyStore, table: str, *, runs: Patterns = None) -> dict[str, Column]:
    """Return :func:`fields`, or nothing where none of the runs has rows in the table.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No run of the store matches.
    """
    opened = Store.open(store)
    return fields(opened, table, runs=runs) if opened.rows(table, runs) else {}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, column names as text."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def layer_names(store: AnyStore, *, table: str = schema.LAYERS, runs: Patterns = None) -> list[str]:
    """Return the names of the observed layers in depth order."""
    opened = Store.open(store)
    return opened.retrying(lambda: _layer_names(opened.dataset(table, runs)))


def _read(
    dataset: ds.Dataset,
    table: str,
    *,
    columns: Sequence[str] | None,
    layers: Patterns,
    steps: Steps,
    measured: Sequence[str],
) -> pd.DataFrame:
    wanted = _wanted_columns(dataset.schema, table, columns, measured)
    chosen = _row_filter(dataset, layers, steps, measured)
    rows = dataset.to_table(columns=wanted, filter=chosen, **_FRUGALLY)
    place = rows.schema.get_field_index(schema.RUN)
    rows = rows.set_column(place, schema.RUN, rows.column(place).dictionary_encode())
    names = _by_depth(rows) if {schema.LAYER, schema.LAYER_INDEX} <= set(rows.column_names) else None
    frame = rows.to_pandas()
    if names is not None:  # categories in depth order: a pivot's columns come from input to output
        frame[schema.LAYER] = frame[schema.LAYER].cat.set_categories(names)
    return frame


def _keys(table: str) -> list[str]:
    return [schema.RUN, *(column.name for column in schema.KEYS[table])]


def _wanted_columns(stored: pa.Schema, table: str, columns: Sequence[str] | None, measured: Sequence[str]) -> list[str]:
    keys = [key for key in _keys(table) if key in stored.names]
    available = [name for name in stored.names if name not in keys]
    missing = [name for name in dict.fromkeys((*(columns or ()), *measured)) if name not in stored.names]
    if missing:
        raise ValueError(
            f"table {table!r} has no column {', '.join(missing)}; it has: {abbreviated(available, most=60)}"
        )
    return keys + [name for name in (available if columns is None else columns) if name not in keys]


def _row_filter(dataset: ds.Dataset, layers: Patterns, steps: Steps, measured: Sequence[str]) -> ds.Expression | None:
    conditions = [ds.field(name).is_valid() for name in measured]
    first, last = steps if steps is not None else (None, None)
    if first is not None:
        conditions.append(ds.field(schema.STEP) >= first)
    if last is not None:
        conditions.append(ds.field(schema.STEP) <= last)
    if layers is not None:
        conditions.append(ds.field(schema.LAYER).isin(matching(layers, _layer_names(dataset), what="layer")))
    together = None
    for condition in conditions:
        together = condition if together is None else together & condition
    return together


def _layer_names(dataset: ds.Dataset) -> list[str]:
    return _by_depth(dataset.to_table(columns=[schema.LAYER, schema.LAYER_INDEX], **_FRUGALLY))


def _by_depth(rows: pa.Table) -> list[str]:
    """Return the layers by their mean place in the depth order of the runs, and by name where two share it."""
    pairs = rows.select([schema.LAYER, schema.LAYER_INDEX]).unify_dictionaries()
    means = pairs.group_by(schema.LAYER).aggregate([(schema.LAYER_INDEX, "mean")]).to_pydict()
    named = zip(means[schema.LAYER], means[f"{schema.LAYER_INDEX}_mean"], strict=True)
    depth = {name: math.inf if mean is None else mean for name, mean in named if name is not None}
    return sorted(depth, key=lambda name: (depth[name], name))
