"""Names of a run's folders, parts and log segments."""

from __future__ import annotations

import re

_RUN = "run"


def run_folder(run: str) -> str:
    """Return the name of a run's folder within a table: ``run=bn-s0``."""
    return f"{_RUN}={run}"


def part_name(first: int, last: int) -> str:
    """Return the name of the part that holds log segments ``first`` to ``last``."""
    return f"part-{first:08d}-{last:08d}.parquet"


def part_range(name: str) -> tuple[int, int] | None:
    """Return the first and the last log segment that a part holds; None if the name is not that of a part.

    >>> part_range("part-00000001-00000007.parquet"), part_range("part-0.parquet")
    ((1, 7), None)
    """
    match = _PART.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def segment_name(table: str, number: int) -> str:
    """Return the name of a table's log segment."""
    return f"{table}-{number:08d}.arrows"


def segment_number(name: str, table: str) -> int | None:
    """Return the number of a log segment of a table; None if the name is not that of a segment.

    >>> segment_number("layers-00000003.arrows", "layers"), segment_number("damaged-layers-00000003.arrows", "layers")
    (3, None)
    """
    match = _SEGMENT.fullmatch(name)
    return int(match[2]) if match and match[1] == table else None


def segment_table(name: str) -> str | None:
    """Return the table of a log segment; None if the name is not that of a segment."""
    match = _SEGMENT.fullmatch(name)
    return match[1] if match else None


_PART = re.compile(r"part-([0-9]{8})-([0-9]{8})\.parquet")
_SEGMENT = re.compile(r"([a-z]+)-([0-9]{8})\.arrows")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_portable(run: str) -> None:
    """Refuse a run id that cannot name a folder on Windows, because a store may be copied to any machine.

    Raises:
        ValueError: The id is the name of a device on Windows (``aux``, ``nul.1``), or ends with a dot.
    """
    if _WINDOWS_DEVICE.fullmatch(run) or run.endswith("."):
        raise ValueError(
            f"run id {run!r}: Windows has no folder of this name; choose another, such as 'run-{run[:3]}'."
        )
