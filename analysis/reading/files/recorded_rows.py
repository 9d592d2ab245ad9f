"""Where a table's rows stand: in finished parts, and in log segments that are in no part yet.

A writer renames a part into place before it deletes the segments whose rows the part holds, and the part's name says
which. Segments are therefore read first and parts listed after: a segment that has gone meanwhile is in a part of the
later list, and one that both have is counted as the part. So no row is missed and none comes twice. (A run resumed from
an earlier step in that very moment may still show rows that it supersedes.) Nothing is written: the log of a run that
was killed, or is still recorded, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from analysis.reading.files.local_files import entries, left_out, parts_of, regular_files, run_folders
from analysis.reading.files.log_segment import read_segment
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
    """Where the rows of one run stand, oldest first: in the paths of parts, then in the segments."""

    run: str
    parts: list[str]
    segments: list[Segment]


def runs_of(root: Path, table: str) -> list[str]:
    """Return the ids of the runs that have a folder or a log in a table of a folder, sorted."""
    logged = [run for run, folder in _writers(root).items() if _has_segment(folder, table)]
    return sorted({*logged, *run_folders(root / table)})


def find_rows(root: Path, table: str, runs: Sequence[str]) -> list[RunRows]:
    """Return where the rows of a table stand, for each of the runs that has any.

    Raises:
        FileNotFoundError: A part went while it was looked for.
    """
    logs = _writers(root)
    segments = {run: _segments(logs[run], table, run) for run in runs if run in logs}
    parts = {run: parts_of(root, table, run) for run in runs}
    found = [
        RunRows(run, [str(part) for part in parts[run]], _in_no_part(segments.get(run, []), parts[run])) for run in runs
    ]
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
