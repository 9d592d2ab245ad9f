"""The tables of a store as DataFrames: the chosen columns, runs, layers and steps.

The choice is pushed down to the Parquet files: other runs are not opened, other columns are not decoded, other row
groups are skipped. Rows come run by run, in step order. In table ``steps`` they are then ordered by split. Otherwise
rows keep the recorded order. Rows in the log of a killed or live run are included.

A value that was not measured is null in the store; a measured NaN is NaN. pandas shows both as NaN. ``measured``
keeps the rows in which the named columns were measured; ``mark`` of :func:`load` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from analysis.reading.depth_order import INDEX, by_depth, name_column, names_in_order
from analysis.reading.files.local_files import left_out
from analysis.reading.files.row_order import row_order
from analysis.reading.selection import Patterns, abbreviated, matching
from analysis.reading.store import AnyStore, Store
from analysis.reading.table_dataset import FRUGALLY
from probes import schema
from probes.schema import Column
from probes.schema.part_checks import key_names

Steps = tuple[int | None, int | None] | None


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
        columns: Measured columns to read; the keys are always read. None reads all.
        runs: Run ids or shell patterns; None reads all runs.
        layers: Layer names, shell patterns, or positions in depth order; None reads all layers.
        steps: First and last step, both included; None on either side leaves that side open.
        measured: Columns; only rows in which each of them was measured are kept (not null; a measured NaN stays).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The store has no such table, column, run or layer; the message lists those of the store.
    """
    return load(store, schema.LAYERS, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def histograms(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of histograms, a row per (run, step, layer, tensor); arguments as :func:`layers`."""
    return load(store, schema.HISTOGRAMS, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def spectra(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of singular spectra, a row per (run, step, layer, view); arguments as :func:`layers`."""
    return load(store, schema.SPECTRA, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def parameters(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    parameters: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of parameters, a row per (run, step, parameter); arguments as :func:`layers`.

    ``parameters`` are names or shell patterns, or positions in the model. A store without this table is refused.
    """
    return load(store, schema.PARAMETERS, columns=columns, runs=runs, layers=parameters, steps=steps, measured=measured)


def channels(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the input of each nonlinearity on the probe batch, a row per (run, step, layer, channel).

    Arguments as :func:`layers`. A store without this table is an error: only a Probe with ``probe_batch`` writes it.
    """
    return load(store, schema.CHANNELS, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def units(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    layers: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the heads of attentions and the experts of routers, a row per (run, step, layer, unit).

    Arguments as :func:`layers`. A store without this table is an error: only attention and routers write it.
    """
    return load(store, schema.UNITS, columns=columns, runs=runs, layers=layers, steps=steps, measured=measured)


def steps(
    store: AnyStore,
    *,
    columns: Sequence[str] | None = None,
    runs: Patterns = None,
    steps: Steps = None,
    measured: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of losses and accuracies, a row per (run, step, split); arguments as :func:`layers`.

    Rows are in the order of run, step and split, the splits by name. A validation that follows the training row of
    step 9 has step 10, the number of steps finished before it, and stands beside the training row of step 10.
    """
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
    mark: bool = False,
) -> pd.DataFrame:
    """Return one table of a store; arguments and errors as :func:`layers`.

    With ``mark``, each column that is read has a boolean column beside it, named by :func:`mark_of`. It says whether
    the column was measured in the row. :func:`analysis.summaries.subsets.was_measured` reads it.
    """
    opened = Store.open(store)

    def read() -> pd.DataFrame:
        dataset = opened.dataset(table, runs)
        frame, rows = _read(dataset, table, columns=columns, layers=layers, steps=steps, measured=measured)
        return _marked(frame, rows, keys=_keys(table)) if mark else frame

    return opened.retrying(read)


def fields(store: AnyStore, table: str, *, runs: Patterns = None) -> dict[str, Column]:
    """Return a table's measured columns with the unit, formula and reference that the store's files give them."""
    keys, opened = _keys(table), Store.open(store)
    described = {}
    for field in opened.retrying(lambda: opened.dataset(table, runs)).schema:
        metadata = field.metadata or {}
        if field.name not in keys and schema.is_recorded(field):
            facts = {key.decode(errors="replace"): text.decode(errors="replace") for key, text in metadata.items()}
            known = {name: facts.get(name, "") for name in ("unit", "formula", "tensor", "reference")}
            described[field.name] = Column(field.name, type=field.type, **known)
    return described


def fields_if_any(store: AnyStore, table: str, *, runs: Patterns = None) -> dict[str, Column]:
    """Return :func:`fields`, or an empty dictionary if none of the runs has rows in the table.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No run of the store matches.
    """
    opened = Store.open(store)
    return fields(opened, table, runs=runs) if opened.rows(table, runs) else {}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, column names as text."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _read(
    dataset: ds.Dataset,
    table: str,
    *,
    columns: Sequence[str] | None,
    layers: Patterns,
    steps: Steps,
    measured: Sequence[str],
) -> tuple[pd.DataFrame, pa.Table]:
    wanted = _wanted_columns(dataset.schema, table, columns, measured)
    chosen = _row_filter(dataset, layers, steps, measured)
    rows = _with_keys(dataset.to_table(columns=wanted, filter=chosen, **FRUGALLY), table)
    rows = _with_categories(rows)
    ordered = {name: by_depth(rows, name) for name, index in INDEX.items() if {name, index} <= set(rows.column_names)}
    frame = rows.to_pandas()
    for name, names in ordered.items():  # categories in depth order: a pivot's columns come from input to output
        frame[name] = frame[name].cat.set_categories(names)
    if (order := row_order(frame, by_split=table == schema.STEPS)) is not None:
        frame, rows = frame.take(order).reset_index(drop=True), rows.take(pa.array(order))
    return frame, rows


def mark_of(column: str) -> str:
    """Return the name of the column that says where a column was measured; no stored column has a space in its name."""
    return f"measured {column}"


def _marked(frame: pd.DataFrame, rows: pa.Table, *, keys: Sequence[str]) -> pd.DataFrame:
    values = [name for name in rows.column_names if name not in keys]
    return frame.assign(**{mark_of(name): rows[name].is_valid().to_numpy() for name in values})


def _with_keys(rows: pa.Table, table: str) -> pa.Table:
    """Return the rows that have a step, a layer and every other key that identifies a row."""
    names = key_names(table)
    lacking = [name for name in names if name in rows.column_names and rows[name].null_count]
    if not lacking:
        return rows
    kept = rows.filter(reduce(pc.and_, (pc.is_valid(rows[name]) for name in lacking)))
    left_out(f"{rows.num_rows - kept.num_rows} rows of table {table}", f"they have no {' or no '.join(lacking)}")
    return kept


def _with_categories(rows: pa.Table) -> pa.Table:
    """Return the rows with all text as categories: the run's id, and text columns that another tool has written."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            rows = rows.set_column(place, field.name, rows.column(place).cast(pa.string()).dictionary_encode())
    return rows


def _keys(table: str) -> list[str]:
    return [schema.RUN, *(column.name for column in schema.KEYS[table])]


def _wanted_columns(stored: pa.Schema, table: str, columns: Sequence[str] | None, measured: Sequence[str]) -> list[str]:
    keys = [key for key in _keys(table) if key in stored.names]
    recorded = [field.name for field in stored if schema.is_recorded(field)]
    available = [name for name in recorded if name not in keys]
    missing = [name for name in dict.fromkeys((*(columns or ()), *measured)) if name not in recorded]
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
        name = name_column(dataset.schema)
        conditions.append(ds.field(name).isin(matching(layers, names_in_order(dataset), what=name)))
    return reduce(lambda one, other: one & other, conditions) if conditions else None
