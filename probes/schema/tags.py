"""Tags in a run's row: how they are stored, and how they choose runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

TAG_PREFIX = "tag:"  # starts a pattern in place of a run id; no run id has a colon
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def is_tag(word: object) -> bool:
    """Return whether a word is a valid tag: letters, digits, ``.``, ``_`` and ``-``, 80 at most.

    >>> is_tag("baseline"), is_tag("two words")
    (True, False)
    """
    return isinstance(word, str) and bool(_TAG.fullmatch(word))


def with_tags(patterns: Sequence[Any], tags: Mapping[str, Sequence[str]]) -> list[Any]:
    """Return patterns of runs with each ``tag:PATTERN`` replaced by the runs that have such a tag.

    Args:
        patterns: Run ids or shell patterns, and patterns of tags after ``tag:``.
        tags: The tags of each run.

    Raises:
        ValueError: No run has such a tag; the message lists the tags.

    >>> with_tags(["tag:base*", "sn-s0"], {"bn-s0": ["baseline"], "bn-s1": ["baseline", "long"], "sn-s0": []})
    ['bn-s0', 'bn-s1', 'sn-s0']
    """
    chosen: list[Any] = []
    for pattern in patterns:
        if not has_tag_prefix(pattern):
            chosen.append(pattern)
            continue
        tag = pattern.removeprefix(TAG_PREFIX)
        found = [run for run, words in tags.items() if any(fnmatchcase(word, tag) for word in words)]
        if not found:
            known = sorted({word for words in tags.values() for word in words})
            raise ValueError(f"no run has the tag {tag!r}; tags: {', '.join(known) or 'none'}")
        chosen += found
    return list(dict.fromkeys(chosen))


def has_tag_prefix(pattern: object) -> bool:
    """Return whether a pattern of runs chooses by tags."""
    return isinstance(pattern, str) and pattern.startswith(TAG_PREFIX)


def parsed_tags(text: Any) -> list[str]:
    """Return the tags that a run's row holds as JSON; an empty list if it holds none.

    >>> parsed_tags('["baseline", "paper"]'), parsed_tags(None)
    (['baseline', 'paper'], [])
    """
    try:
        words = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return []
    return [word for word in words if is_tag(word)] if isinstance(words, list) else []
