"""The step of a checkpoint, read from the name of its file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

LARGEST_STEP = 2**31 - 1  # a larger number is a date, a hash or a mistake; epochs have 32 bits
_WORDS = "global_step|step|steps|iteration|iter|checkpoint|ckpt"
_AFTER_WORD = re.compile(rf"(?:^|[^a-z])(?:{_WORDS})[-_=. ]?(\d+)(?![\d.]*\d)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def step_in(path: Path) -> int | None:
    """Return the step that the name of a file says, or that of its folder; None if neither does.

    A step is a whole number after a word such as "step", or the whole name: ``step=400.ckpt``, ``ckpt_0100.pt``,
    ``2000.pt``, ``checkpoint-500/model.safetensors``.
    """
    for name in (path.stem, path.parent.name):
        found = [name] if name.isdecimal() else _AFTER_WORD.findall(name)
        if found and int(found[-1]) <= LARGEST_STEP:
            return int(found[-1])
    return None


def steps_of(paths: Sequence[Path]) -> list[int | None]:
    """Return the step of each file of a series: the step in its name, else the number in which all names differ."""
    named = [step_in(path) for path in paths]
    if None not in named and len(set(named)) == len(named):
        return named
    counted = _number_that_differs([path.stem for path in paths])
    return named if counted is None else [*counted]


def _number_that_differs(names: Sequence[str]) -> list[int] | None:
    """Return the whole number of each name if the names differ in one number only; None otherwise."""
    if len(set(names)) < max(2, len(names)) or len({_NUMBER.sub("#", name) for name in names}) > 1:
        return None
    columns = [column for column in zip(*map(_NUMBER.findall, names), strict=True) if len(set(column)) > 1]
    if len(columns) != 1 or not all(number.isdecimal() for number in columns[0]):
        return None
    numbers = [int(number) for number in columns[0]]
    return numbers if max(numbers) <= LARGEST_STEP else None
