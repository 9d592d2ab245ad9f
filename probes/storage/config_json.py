"""Settings of any kind as JSON: a value that JSON cannot hold is written as its ``repr``, and nothing is raised.

Mappings, dataclasses, attrs classes, namespaces, named tuples, and objects with ``model_dump`` (pydantic) or
``to_dict`` (Hugging Face) become objects. Sequences, sets and small arrays become lists. NaN and the infinities become
the words of :data:`probes.schema.NONFINITE`, because strict JSON has no such numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from operator import getitem
from types import SimpleNamespace
from typing import Any

import numpy as np

from probes.storage.config_values import NO_SCALAR, scalar_of, sound

MAX_DEPTH = 32  # levels of nesting: an object that makes a new child at each access has no end
MAX_VALUES = 20_000  # of a whole configuration: each flush writes the whole row of the run
MAX_ELEMENTS = 1_000  # of an array that is written; for a larger array, shape and type are written
MAX_LETTERS = 2_000  # characters of a repr
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # differs between processes, so equal settings would seem to differ
_EXPORTS = ("model_dump", "to_dict", "flag_values_dict")  # pydantic; Hugging Face and ml_collections; absl
_FIELDS = ("__attrs_attrs__", "__struct_fields__", "__fields__", "_fields")  # attrs; msgspec; pydantic 1; namedtuple
_Members = list[tuple[Any, Callable[[], Any]]]


def config_json(config: Any) -> str:
    """Return a configuration as a JSON object.

    Text that is a JSON object is taken as it is. For a class, and for an object without fields, the public attributes
    are taken. Any other value, such as a list, is stored under the key ``config``.
    """
    if isinstance(config, str) and _is_json_object(config):
        return config
    converted = _Plain().convert(config)
    if not isinstance(converted, dict):
        attributes = _public_attributes(config) if isinstance(converted, str) else {}
        converted = _Plain().convert(attributes) if attributes else {"config": converted}
    return json.dumps(converted, ensure_ascii=False, allow_nan=False)


def plain_json(value: Any) -> str:
    """Return any value as strict JSON."""
    return json.dumps(_Plain().convert(value), ensure_ascii=False, allow_nan=False)


def text_of(value: Any) -> str:
    """Return the ``repr`` of a value without memory addresses, cut after 2,000 characters.

    It never raises.
    """
    try:
        text = _ADDRESS.sub("", sound(repr(value)))
    except Exception:  # of the object's own code
        return f"<{type(value).__qualname__}>"
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}... ({len(text):,} letters)"


class _Plain:
    """Converts one value and all values in it, counts them, and remembers the objects around the current one."""

    def __init__(self) -> None:
        self._above: dict[int, str] = {}  # place of each object that holds the current one
        self._left = MAX_VALUES

    def convert(self, value: Any, place: str = "") -> Any:
        """Return a value made of dicts with string keys, lists, strings, finite numbers, booleans and None."""
        self._left -= 1
        try:
            known = scalar_of(value)
            return self._nested(value, place) if known is NO_SCALAR else known
        except Exception:  # of the object's own code, or the stack is full
            return text_of(value)

    def _nested(self, value: Any, place: str) -> Any:
        if id(value) in self._above:
            return f"<refers back to {self._above[id(value)] or 'the whole configuration'}>"
        if len(self._above) >= MAX_DEPTH:
            return f"<nested more than {MAX_DEPTH} deep>"
        self._above[id(value)] = place
        try:
            return self._opened(value, place)
        finally:
            del self._above[id(value)]

    def _opened(self, value: Any, place: str) -> Any:
        if isinstance(value, np.generic):
            return self.convert(value.item(), place)
        if _is_array(value):
            return self._array(value, place)
        members = _members(value)
        if members is not None:
            return self._object(members, value, place)
        if isinstance(value, Set):
            found = self._list(value, place)
            return sorted(found, key=partial(json.dumps, sort_keys=True)) if isinstance(found, list) else found
        return self._list(value, place) if isinstance(value, Sequence) else text_of(value)

    def _array(self, value: Any, place: str) -> Any:
        shape = tuple(value.shape)
        if math.prod(shape) > MAX_ELEMENTS:
            return f"<{type(value).__name__} of shape {shape} and type {value.dtype}>"
        return self.convert(value.tolist(), place)

    def _object(self, members: _Members, value: Any, place: str) -> Any:
        if len(members) > self._left:
            return f"<{type(value).__name__} of {len(members):,} values>"
        found: dict[str, Any] = {}
        for key, read in members:
            name = _name(key)
            while name in found:  # 1 and "1" are two keys
                name = f"{name} ({type(key).__name__})"
            found[name] = self._read(read, f"{place}.{name}" if place else name)
        return found

    def _read(self, read: Callable[[], Any], place: str) -> Any:
        """Convert one member.

        A member that cannot be read, such as a missing value in OmegaConf, affects no other member.
        """
        try:
            value = read()
        except Exception as failure:  # of the object's own code
            return f"<cannot be read: {text_of(failure)}>"
        return self.convert(value, place)

    def _list(self, value: Sequence[Any] | Set[Any], place: str) -> Any:
        if len(value) > self._left:
            return f"<{type(value).__name__} of {len(value):,} values>"
        return [self.convert(element, f"{place}[{index}]") for index, element in enumerate(value)]


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _public_attributes(config: Any) -> dict[str, Any]:
    """Return the attributes of a class or of an object without fields, including the attributes of its class."""
    if not isinstance(config, type) and scalar_of(config) is not NO_SCALAR:
        return {}
    kinds = config.__mro__ if isinstance(config, type) else type(config).__mro__
    of_class = {name: value for kind in reversed(kinds[:-1]) for name, value in vars(kind).items()}
    own = {} if isinstance(config, type) else getattr(config, "__dict__", {})
    settings = {name: value for name, value in of_class.items() if not hasattr(type(value), "__get__")}  # no methods
    return {name: value for name, value in {**settings, **own}.items() if not name.startswith("_")}


def _is_array(value: Any) -> bool:
    return all(hasattr(type(value), name) for name in ("shape", "dtype", "tolist"))


def _members(value: Any) -> _Members | None:
    """Return the keys of an object, each with a function that reads its value; None if it is no object with keys."""
    if isinstance(value, Mapping):
        return [(key, partial(getitem, value, key)) for key in value]
    exported = next(_exported(value), None)
    if exported is not None:
        return [(key, partial(getitem, exported, key)) for key in exported]
    names = _field_names(value)
    return None if names is None else [(name, partial(getattr, value, name)) for name in names]


def _exported(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield the mappings that the object's own export methods return."""
    if hasattr(type(value), "shape"):  # a data frame is no configuration
        return
    for name in _EXPORTS:
        if callable(getattr(type(value), name, None)):
            try:
                found = getattr(value, name)()
            except Exception:  # from the object's own code; its fields may still be readable
                continue
            if isinstance(found, Mapping):
                yield found


def _field_names(value: Any) -> list[str] | None:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if isinstance(value, argparse.Namespace | SimpleNamespace):
        return list(vars(value))
    for attribute in _FIELDS:
        if (fields := getattr(type(value), attribute, None)) is not None:
            return [getattr(field, "name", field) for field in fields]
    return None


def _name(key: Any) -> str:
    """Return a key as text: numbers and None as JSON writes them, any other key as its ``repr``."""
    known = scalar_of(key)
    if isinstance(known, str):
        return known
    return text_of(key) if known is NO_SCALAR else json.dumps(known)
