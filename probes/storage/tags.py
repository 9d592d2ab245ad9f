"""Tags: words on runs, by which runs are chosen as ``tag:WORD`` wherever runs are named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probes import schema
from probes.storage.files import StoreFiles
from probes.storage.run_row import described, read_run_row, write_run_row
from probes.storage.writer_lock import WriterLock


def checked_tags(tags: str | Iterable[str]) -> list[str]:
    """Return the tags, each once, in their order.

    A string is one tag.

    Raises:
        ValueError: A tag is no word of letters, digits, ``.``, ``_`` and ``-``.
    """
    words = [tags] if isinstance(tags, str) else list(tags)
    for word in words:
        if not schema.is_tag(word):
            raise ValueError(f"tag {word!r}: expected a word of letters, digits, '.', '_' or '-', such as 'baseline'.")
    return list(dict.fromkeys(words))


def tags_of(row: Mapping[str, Any]) -> list[str]:
    """Return the tags in a run's row; an empty list if there are none, or if they are no JSON list of words."""
    return schema.parsed_tags(row.get("tags"))


def chosen_runs(files: StoreFiles, runs: Sequence[str]) -> list[str]:
    """Return run ids, with each ``tag:PATTERN`` replaced by the runs that have such a tag.

    Raises:
        ValueError: No run has one of the tags; the message lists the valid names.
    """
    if not any(map(schema.has_tag_prefix, runs)):
        return list(runs)
    return schema.with_tags(runs, {run: tags_of(read_run_row(files, run)) for run in files.runs()})


def set_tags(files: StoreFiles, run: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> list[str]:
    """Add and remove tags of a run without a live writer, and return its new tags.

    Raises:
        ValueError: The run is being written, or a tag is no word.
    """
    owner = WriterLock(files.workspace(run))
    try:
        row = read_run_row(files, run)
        gone = set(remove)
        tags = [word for word in checked_tags([*tags_of(row), *add]) if word not in gone]
        write_run_row(files, run, described(row, {"tags": tags}))
    finally:
        owner.release()
    return tags
