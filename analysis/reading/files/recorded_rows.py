"""The rows of one table in a folder: finished parts, and log segments that no part holds yet.

A writer first renames a part into place and then deletes the segments whose rows the part holds. The name of the part
names those segments. Readers therefore read segments first and list parts second. A segment deleted in between is in a
listed part. A segment that is also in a part is skipped. So no row is missed, and no row comes twice. The one exception
is a run that is resumed from an earlier step between the two reads: rows that it supersedes may still be shown.

Nothing is written. The log of a killed or live run stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
        path: Its path.
        number: Its number, which a part that holds its rows has in its name.
        rows: Its rows with the column ``run``, texts as plain strings.
    """

    path: Path
    number: int
    rows: pa.Table


@dataclass(frozen=True)
class RunRows:
    """The parts and log segments with the rows of one run, oldest first, parts before segments."""

    run: str
    parts: list[str]
    segments: list[Segment]

    def without(self, damaged: Collection[str]) -> RunRows | None:
        """Return the rows outside the damaged parts; None if all are in them."""
        parts = [part for part in self.parts if part not in damaged]
        return RunRows(self.run, parts, self.segments) if parts or self.segments else None


def runs_of(root: Path, table: str) -> list[str]:
    """Return the ids of the runs that have a folder or a log in a table of a folder, sorted."""
    logged = [run for run, folder in _writers(root).items() if _has_segment(folder, table)]
    return sorted({*logged, *run_folders(root / table)})


def find_rows(root: Path, table: str, runs: Sequence[str]) -> list[RunRows]:
    """Return the parts and segments of a table, for each of the runs that has rows.

    Raises:
        FileNotFoundError: A part vanished during the search.
    """
    logs = _writers(root)
    segments = {run: _segments(logs[run], table, run) for run in runs if run in logs}
    parts = {run: parts_of(root, table, run) for run in runs}
    found = [
        RunRows(run, [str(part) for part in parts[run]], _in_no_part(segments.get(run, []), parts[run])) for run in runs
    ]
    return [rows for rows in found if rows.parts or rows.segments]


def fitting(segments: Iterable[Segment], stored: pa.Schema) -> tuple[list[Segment], pa.Schema]:
    """Return the segments whose columns agree with a schema and with each other, and the schema of all columns.

    A segment that contradicts the type of a column is left out with a warning.
    """
    kept = []
    for segment in segments:
        try:
            stored = schema.unified([stored, segment.rows.schema])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            left_out(segment.path, f"its columns contradict the rest of the table: {error}")
        else:
            kept.append(segment)
    return kept, stored


def _writers(root: Path) -> dict[str, Path]:
    try:
        return run_folders(root / schema.WRITERS, prefix="")
    except PermissionError as error:  # only the writer may read its log; all may read the parts
        left_out(root / schema.WRITERS, str(error))
        return {}


def _has_segment(folder: Path, table: str) -> bool:
    return any(schema.segment_number(entry.name, table) is not None for entry in entries(folder))


def _segments(folder: Path, table: str, run: str) -> list[Segment]:
    found = []
    for path in regular_files(folder, lambda name: schema.segment_number(name, table) is not None):
        number = schema.segment_number(path.name, table)
        with suppress(FileNotFoundError):  # its rows have moved to a part since it was listed
            rows = read_segment(path, table)
            if rows is not None and number is not None:
                named = rows.append_column(schema.RUN, pa.repeat(pa.scalar(run), rows.num_rows))
                found.append(Segment(path, number, named))
    return found


def _in_no_part(segments: list[Segment], parts: list[Path]) -> list[Segment]:
    held = [span for span in (schema.part_range(part.name) for part in parts) if span is not None]
    return [segment for segment in segments if not any(first <= segment.number <= last for first, last in held)]
