"""Arrow arrays from NumPy and plain Python values, without ``pyarrow.array``.

The first call of ``pyarrow.array`` imports pandas, which takes 30 MiB and half a second of the training. These
functions build the same arrays from their buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any

import numpy as np
import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_array(values: np.ndarray, kind: pa.DataType, *, missing: np.ndarray | None = None) -> pa.Array:
    """Return numbers as an Arrow array of a numeric type, or as timestamps in microseconds since 1970.

    Args:
        values: ``(n,)``, of any numeric type. They are converted as by ``ndarray.astype``: a number that does not fit
            wraps.
        kind: The Arrow type of the array.
        missing: ``(n,)`` bool, where the array is null; None: nowhere.
    """
    dtype = _dtype(kind)
    return _array(kind, len(values), [np.ascontiguousarray(values, dtype=dtype)], missing)


def word_array(words: Sequence[str | None]) -> pa.Array:
    """Return words as an Arrow array of strings; None is null.

    Raises:
        TypeError: Something is neither a string nor None.
    """
    wrong = [word for word in words if not (word is None or isinstance(word, str))]
    if wrong:
        raise TypeError(f"expected strings or None, got {wrong[0]!r} of type {type(wrong[0]).__name__}")
    encoded = [b"" if word is None else word.encode() for word in words]
    offsets = np.zeros(len(words) + 1, dtype=np.int32)
    np.cumsum([len(word) for word in encoded], out=offsets[1:])
    missing = np.array([word is None for word in words], dtype=bool)
    return _array(pa.string(), len(words), [offsets, b"".join(encoded)], missing)


def list_array(offsets: np.ndarray, values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return lists of numbers of a type; list i is ``values[offsets[i]:offsets[i + 1]]``."""
    return pa.ListArray.from_arrays(number_array(offsets, pa.int32()), number_array(values, kind))


def one_row(row: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Return a row of strings, whole numbers and points in time as a table; a column that it lacks is null.

    A point in time without a zone is in UTC.

    Raises:
        TypeError: A value is not of its column's type.
    """
    return pa.Table.from_arrays([_cell(column, row.get(column.name)) for column in schema], schema=schema)


def _cell(column: pa.Field, value: Any) -> pa.Array:
    if column.type == pa.string() and (value is None or isinstance(value, str)):
        return word_array([value])
    if value is None:
        return pa.nulls(1, column.type)
    if pa.types.is_timestamp(column.type) and isinstance(value, datetime):
        when = value if value.tzinfo else value.replace(tzinfo=UTC)
        return number_array(np.array([(when - _EPOCH) // timedelta(microseconds=1)]), column.type)
    if pa.types.is_integer(column.type) and isinstance(value, Integral) and not isinstance(value, bool):
        limits = np.iinfo(_dtype(column.type))
        if limits.min <= int(value) <= limits.max:
            return number_array(np.array([value]), column.type)
    raise TypeError(f"{column.name} is {value!r}, expected a value of type {column.type}")


def _dtype(kind: pa.DataType) -> np.dtype:
    """Return the NumPy type of a number or time stamp type.

    With PyArrow 17, ``to_pandas_dtype`` would load pandas.
    """
    letter = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


def _array(
    kind: pa.DataType, length: int, buffers: Sequence[np.ndarray | bytes], missing: np.ndarray | None
) -> pa.Array:
    nulls = 0 if missing is None else int(np.count_nonzero(missing))
    valid = np.packbits(~np.asarray(missing, dtype=bool), bitorder="little") if nulls else None
    parts = [None if valid is None else pa.py_buffer(valid), *map(pa.py_buffer, buffers)]
    return pa.Array.from_buffers(kind, length, parts, null_count=nulls)
