"""JSON in the `runs` table, read within limits, because a store may come from an untrusted source."""

from __future__ import annotations

import json
from typing import Any

MOST_LETTERS = 16 << 20
MOST_DEPTH = 64  # levels; a configuration that a probe writes has at most 32
MOST_VALUES = 50_000  # a configuration that a probe writes has at most 20,000


def stored_json(text: str, kind: type) -> Any:
    """Return the JSON that a store holds, an object (``dict``) or a list.

    Raises:
        ValueError: The text is no JSON, not of that kind, nested too deep, or too long. The message says which, without
            the place of the text.
    """
    if len(text) > MOST_LETTERS:
        raise ValueError(f"has {len(text):,} letters, expected {MOST_LETTERS:,} at most")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"is nested more than {MOST_DEPTH} deep") from None
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(value, kind):
        raise ValueError(f"is not a JSON {kind.__name__}")
    _check_size(value)
    return value


def _check_size(value: Any) -> None:
    """Refuse lists and objects with too many levels or values, without recursion."""
    level, count = [value], 0
    for _ in range(MOST_DEPTH + 1):
        members = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [inner for outer in members for inner in outer]
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES:,} values")
        if not level:
            return
    raise ValueError(f"is nested more than {MOST_DEPTH} deep")
