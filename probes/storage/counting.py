"""Counts in words: ``1 row``, ``2 rows``."""

from __future__ import annotations


def counted(count: int, word: str) -> str:
    """Return a number and a noun, which gets an ``s`` unless the number is 1.

    >>> counted(1, "row"), counted(12000, "row")
    ('1 row', '12,000 rows')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"
