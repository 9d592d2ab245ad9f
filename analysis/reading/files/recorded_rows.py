"""Where a table's rows stand: in finished parts, and in log segments that are in no part yet.

A writer renames a part into place before it deletes the segments whose rows the part holds, and the part's name says
which. Segments are therefore read first and parts listed after: a segment that has gone meanwhile is in a part of the
later list, and one that both have is counted as the part. So no row is missed and none comes twice. (A run resumed from
an earlier step in that very moment may still show rows that it supersedes.) Nothing is written: the log of a run that
was killed, or is still recorded, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from analysis.reading.files.local_files import entries, existing_store, left_out, parts_of, regular_files, run_folders
from analysis.reading.files.log_segment import read_segment
from analysis.reading.selection import Patterns, abbreviated, matching
from probes import schema


@dataclass(frozen=True)
class Segment:
    """The rows of one log segment.

    Attributes:
        path: Where it stands.
        number: Its number, by which a part's name says that it holds these rows.
        rows: Its rows with the column ``run``, words as strings.
    """

    path: Path
    number: int
    rows: pa.Table


@dataclass(frozen=True)
class RunRows:
    """Where the rows of one run stand, oldest first: in the parts, then in the segments."""

    run: str
    parts: list[Path]
    segments: list[Segment]


def runs_of(store: str | Path, table: str) -> list[str]:
    """Return the ids of the runs that have a folder or a log in a table, sorted.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: The path is a file, or ``table`` is none of the store's tables.
    """
    if table not in schema.TABLES:
        raise ValueError(f"no table {table!r}; a store has {', '.join(schema.TABLES)}")
    root = existing_store(store)
    logs = _writers(root)
    logged = [run for run, folder in logs.items() if _has_segment(folder, table)]
    return sorted({*logged, *run_folders(root / table)})


def find_rows(store: str | Path, table: str, runs: Patterns = None) -> list[RunRows]:
    """Return where the rows of a table stand, for each chosen run that has any, sorted by run.

    Args:
        store: The store's folder.
        table: A table.
        runs: Run ids or patterns; the logs of other runs are not read.

    Raises:
        FileNotFoundError: There is no such path, or a part went while it was looked for.
        ValueError: There is no such table, or no run of the store matches.
    """
    root, chosen = Path(store), _chosen(store, table, runs)
    logs = _writers(root)
    segments = {run: _segments(logs[run], table, run) for run in chosen if run in logs}
    parts = {run: parts_of(root, table, run) for run in chosen}
    found = [RunRows(run, parts[run], _in_no_part(segments.get(run, []), parts[run])) for run in chosen]
    return [rows for rows in found if rows.parts or rows.segments]


def fitting(segments: Iterable[Segment], stored: pa.Schema) -> tuple[list[Segment], pa.Schema]:
    """Return the segments that agree with a schema and each other, and the schema of all columns together.

    A column that one says is a number and another a word cannot be both: the later segment is left out.
    """
    kept = []
    for segment in segments:
        try:
            stored = pa.unify_schemas([stored, segment.rows.schema], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            left_out(segment.path, f"its columns contradict the rest of the table: {error}")
        else:
            kept.append(segment)
    return kept, stored


def nothing_found(store: str | Path, table: str, runs: Patterns = None) -> str:
    """Return the sentence that says why there are no rows, and what there is instead."""
    there = runs_of(store, table)
    if runs is not None and there:
        return f"store {str(store)!r}: run {runs!r} has no rows in table {table!r}; {abbreviated(there)} may have some"
    present = [name for name in schema.TABLES if name != table and runs_of(store, name)]
    if not present:
        return (
            f"store {str(store)!r} is empty: no run has recorded anything yet; attach a Probe to a training, or check "
            "the path"
        )
    return f"store {str(store)!r} has no table {table!r}; it has {', '.join(present)}"


def _chosen(store: str | Path, table: str, runs: Patterns) -> list[str]:
    there = runs_of(store, table)
    if not there:
        return []
    with suppress(ValueError):
        return matching(runs, there, what="run")
    # A run of the store need not have rows in every table; only one that is in none is a mistake.
    known = matching(runs, sorted({run for name in schema.TABLES for run in runs_of(store, name)}), what="run")
    return [run for run in there if run in known]


def _writers(root: Path) -> dict[str, Path]:
    try:
        return run_folders(root / schema.WRITERS, prefix="")
    except PermissionError as error:  # the log is its writer's own; the parts are for all
        left_out(root / schema.WRITERS, str(error))
        return {}


def _has_segment(folder: Path, table: str) -> bool:
    return any(schema.segment_number(entry.name, table) is not None for entry in entries(folder))


def _segments(folder: Path, table: str, run: str) -> list[Segment]:
    found = []
    for path in regular_files(folder, lambda name: schema.segment_number(name, table) is not None):
        number = schema.segment_number(path.name, table)
        with suppress(FileNotFoundError):  # in a part since it was listed
            rows = read_segment(path, table)
            if rows is not None and number is not None:
                named = rows.append_column(schema.RUN, pa.repeat(pa.scalar(run), rows.num_rows))
                found.append(Segment(path, number, named))
    return found


def _in_no_part(segments: list[Segment], parts: list[Path]) -> list[Segment]:
    held = [span for span in (schema.part_range(part.name) for part in parts) if span is not None]
    return [segment for segment in segments if not any(first <= segment.number <= last for first, last in held)]
