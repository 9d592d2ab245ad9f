"""Single values of a configuration as JSON: words, numbers, paths, enums, dates, types."""

from __future__ import annotations

import datetime
import math
import numbers
import os
import types
import uuid
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import numpy as np

from probes.schema import NONFINITE

NO_SCALAR: Final = object()  # returned for a value that is no single value
_TYPES = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_TORCH_WORDS = {"device", "dtype", "layout", "memory_format", "qscheme"}  # by name: the store needs no torch
_WORDS = {number: word for word, number in NONFINITE.items() if not math.isnan(number)}


def scalar_of(value: Any) -> Any:
    """Return a string, a finite number, a boolean or None for a single value; ``NO_SCALAR`` for any other.

    An enum becomes its value if its class makes it a word or a number, else its name. A type or a function becomes its
    dotted name. A whole number of more than 64 bits becomes its hexadecimal text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _of_enum(value)
    if isinstance(value, str):
        return sound(str.__str__(value))
    if isinstance(value, numbers.Real | Decimal):
        return _of_number(value)
    if isinstance(value, _TYPES):
        module = value.__module__
        return sound(value.__qualname__ if module in (None, "builtins") else f"{module}.{value.__qualname__}")
    return _of_word(value)


def sound(text: str) -> str:
    r"""Return text that UTF-8 can hold: a single surrogate, from a file name that is not UTF-8, becomes ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _of_enum(value: Enum) -> Any:
    if isinstance(value, int | float):
        return scalar_of(value.value)
    return sound(value.value if isinstance(value.value, str) else str(value.name or value))


def _of_number(value: Any) -> Any:
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if whole.bit_length() <= 64 else hex(whole)
    real = float(value)
    return "NaN" if math.isnan(real) else _WORDS.get(real, real)


def _of_word(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return sound(os.fsdecode(value))
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta | uuid.UUID | complex | np.dtype):
        return str(value)
    kind = type(value)
    return str(value) if kind.__module__ == "torch" and kind.__name__ in _TORCH_WORDS else NO_SCALAR
