"""Choice of runs and layers by name, pattern or position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

_WILDCARDS = frozenset("*?[")
Patterns = str | int | Sequence[str | int] | None


def matching(patterns: Patterns, names: Sequence[str], *, what: str) -> list[str]:
    """Return the names that patterns or positions select, in the order of ``names``.

    Args:
        patterns: A shell pattern (``"block1.*"``), several of them (a list, or one string with commas), positions
            counted from 0 (``[0, -1]`` is the first and the last), or None for all.
        names: The names to choose from, in their natural order (depth for layers).
        what: The kind of name, for the error message: ``"run"`` or ``"layer"``.

    Raises:
        ValueError: One of the patterns matches nothing; the message lists the valid names.

    >>> matching("*.conv1", ["a.conv1", "a.conv2", "b.conv1"], what="layer")
    ['a.conv1', 'b.conv1']
    """
    if patterns is None:
        return list(names)
    chosen: set[str] = set()
    for pattern in as_list(patterns):
        found = _meant_by(pattern, names)
        if not found:
            raise ValueError(f"no {what} matches {pattern!r}; there are: {abbreviated(names, most=24)}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def as_list(patterns: str | int | Sequence[str | int]) -> list[str | int]:
    """Return one pattern, several with commas between, or a list of them, as a list."""
    if isinstance(patterns, int):
        return [patterns]
    if isinstance(patterns, str):
        return [part.strip() for part in patterns.split(",")]
    return list(patterns)


def _meant_by(pattern: str | int, names: Sequence[str]) -> list[str]:
    if isinstance(pattern, int):
        return [names[pattern]] if -len(names) <= pattern < len(names) else []
    if not _WILDCARDS.intersection(pattern):  # a plain name needs no search; there may be many runs
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatchcase(name, pattern)]


def abbreviated(names: Iterable[str], *, most: int = 12) -> str:
    """Return names as one line of text, the middle left out where there are more than ``most``."""
    listed = [str(name) for name in names]
    if not listed:
        return "none"
    if len(listed) <= most:
        return ", ".join(listed)
    half = most // 2
    return f"{', '.join(listed[:half])}, ... ({len(listed) - 2 * half} more) ..., {', '.join(listed[-half:])}"


def spread_over(names: Sequence[str], *, most: int) -> list[str]:
    """Return at most ``most`` names, evenly spaced, the first and the last among them.

    >>> spread_over(["a", "b", "c", "d", "e"], most=3)
    ['a', 'c', 'e']
    """
    if len(names) <= most:
        return list(names)
    if most == 1:
        return [names[0]]
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
