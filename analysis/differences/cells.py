"""Comparison of two Arrow columns, cell by cell.

Null equals null, NaN equals NaN, and other cells are compared by value.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = pa.Array | pa.ChunkedArray


def differing(first: Column, second: Column, *, rtol: float = 0.0) -> np.ndarray:
    """Return which cells of two columns of equal length differ, as booleans.

    Numbers differ if ``|a - b| > rtol max(|a|, |b|)``. With ``rtol`` 0, a single bit makes them differ, except that 0
    equals -0. A null differs from every number. NaN differs from every number except NaN. Lists differ if their lengths
    or any of their elements differ. A null element equals a zero.
    """
    nulls = first.is_null().to_numpy(zero_copy_only=False), second.is_null().to_numpy(zero_copy_only=False)
    return (nulls[0] != nulls[1]) | (~nulls[0] & ~nulls[1] & _values_differ(first, second, rtol))


def _values_differ(first: Column, second: Column, rtol: float) -> np.ndarray:
    if pa.types.is_null(first.type) or pa.types.is_null(second.type):
        return np.ones(len(first), dtype=bool)  # no value to compare with: the nulls decide
    if pa.types.is_list(first.type) and pa.types.is_list(second.type):
        return _lists_differ(first, second, rtol)
    if _is_number(first.type) and _is_number(second.type):
        return _numbers_differ(_numbers(first), _numbers(second), rtol)
    return _words(first) != _words(second)


def _numbers_differ(a: np.ndarray, b: np.ndarray, rtol: float) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        far = a != b if not rtol else ~((a == b) | (abs(a - b) <= rtol * np.maximum(abs(a), abs(b))))
    return far & ~(np.isnan(a) & np.isnan(b))


def _lists_differ(first: Column, second: Column, rtol: float) -> np.ndarray:
    sizes = [pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) for column in (first, second)]
    found = sizes[0] != sizes[1]
    alike = np.flatnonzero(~found)
    a, b = (_numbers(pc.list_flatten(column.take(pa.array(alike)))) for column in (first, second))
    rows = np.repeat(alike, sizes[0][alike])
    found[rows[_numbers_differ(a, b, rtol)]] = True
    return found


def _numbers(column: Column) -> np.ndarray:
    return pc.fill_null(column, 0).to_numpy(zero_copy_only=False)


def _words(column: Column) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=object)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)
