"""Checks of a Parquet file's footer: the columns that a table must have, and sizes that no part of a store has.

Readers leave out a file for which :func:`reading_problem` names a problem. ``verify`` names all of
:func:`schema_problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from probes import schema

DECLARED = {
    table: {column.name: column.arrow_field() for column in (*schema.KEYS[table], *columns)}
    for table, columns in {
        schema.LAYERS: (),
        schema.HISTOGRAMS: schema.HISTOGRAM_COLUMNS,
        schema.SPECTRA: schema.SPECTRA_COLUMNS,
        schema.PARAMETERS: (),
        schema.CHANNELS: schema.CHANNEL_COLUMNS,
        schema.UNITS: schema.UNIT_COLUMNS,
        schema.STEPS: schema.STEPS_COLUMNS,
        schema.RUNS: schema.RUNS_COLUMNS,
    }.items()
}
_IDENTITY = {
    *(schema.STEP, schema.LAYER, schema.PARAMETER, schema.CHANNEL),
    *(schema.TENSOR, schema.VIEW, schema.SPLIT),
}
_NUMBERS_ONLY = {schema.LAYERS, schema.PARAMETERS, schema.STEPS}  # tables whose further columns are measured numbers
SURE_ROWS, ROWS_A_BYTE = 1 << 20, 32  # a row group of 32,768 rows takes at least a kilobyte
SURE_BYTES, TIMES_PACKED = 64 << 20, 256


def key_names(table: str) -> list[str]:
    """Return the names of the columns that together identify a row of this table within its run."""
    return [column.name for column in schema.KEYS[table] if column.name in _IDENTITY]


def schema_problems(table: str, stored: pa.Schema) -> Iterator[str]:
    """Yield each difference between a part's columns and the layout."""
    version = schema.version_of(stored.metadata)
    if version is None or not 1 <= version <= schema.SCHEMA_VERSION:
        yield f"has schema version {version or 'none'}; this meandrift knows 1 to {schema.SCHEMA_VERSION}"
    if schema.RUN in stored.names:
        yield f"has a column {schema.RUN!r}, which only the path may say"
    missing = [name for name in key_names(table) if name not in stored.names]
    if missing:
        yield f"lacks the key columns {', '.join(missing)}"
    if repeated := _repeated(stored):
        yield f"has the column {repeated[0]!r} more than once"
    for column in stored:
        declared = DECLARED[table].get(column.name)
        if declared is not None and declared.type != column.type:
            yield f"column {column.name!r} is {column.type}, expected {declared.type}"
        elif declared is None and column.name != schema.RUN and not is_measured(table, column.type):
            yield f"column {column.name!r} is {column.type}, expected numbers"


def reading_problem(table: str, stored: pa.Schema) -> str | None:
    """Return the reason why readers cannot use the columns of a part; None if they can.

    Parts of other programs and versions are read if each declared column has a type of the right family: words, whole
    numbers, numbers, times or lists of numbers. For other columns see :func:`is_measured`.
    """
    missing = [name for name in key_names(table) if name not in stored.names]
    if missing:
        return f"it lacks the key columns {', '.join(missing)}"
    if repeated := _repeated(stored):
        return f"it has the column {repeated[0]!r} more than once"
    for column in stored:
        declared = DECLARED[table].get(column.name)
        if declared is not None and not _alike(declared.type, column.type):
            return f"its column {column.name!r} is {column.type}, expected {declared.type}"
    return None


def size_problem(metadata: pq.FileMetaData, nbytes: int) -> str | None:
    """Return why a file must not be read: it unpacks to far more than a part of its size.

    None if it may be read.

    Args:
        metadata: The file's footer.
        nbytes: The file's size in bytes.
    """
    rows = metadata.num_rows
    if rows < 0 or (rows > SURE_ROWS and rows > ROWS_A_BYTE * nbytes):
        return f"says it has {rows:,} rows in {nbytes:,} bytes: no part of meandrift is like that, so it is not read"
    unpacked = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if unpacked > SURE_BYTES and unpacked > TIMES_PACKED * nbytes:
        return f"unpacks from {nbytes:,} to {unpacked:,} bytes: no part of meandrift is like that, so it is not read"
    return None


def _repeated(stored: pa.Schema) -> list[str]:
    return sorted({name for name in stored.names if stored.names.count(name) > 1})


def is_measured(table: str, kind: pa.DataType) -> bool:
    """Return whether an undeclared column can be read: numbers always, words and lists only in some tables."""
    if table in _NUMBERS_ONLY:
        return _is_number(kind) or pa.types.is_null(kind)
    return _is_number(kind) or pa.types.is_null(kind) or _is_word(kind) or _is_numbers(kind)


def _alike(expected: pa.DataType, found: pa.DataType) -> bool:
    """Return whether two types are of one family.

    A column of nulls belongs to every family.
    """
    families: list[Callable[[pa.DataType], bool]] = [
        _is_word,
        pa.types.is_integer,
        _is_number,
        pa.types.is_timestamp,
        _is_numbers,
    ]
    family = next((of for of in families if of(expected)), None)
    return pa.types.is_null(found) or (family is not None and family(found))


def _is_word(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_numbers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_number(kind.value_type)
