"""Verify a store: read every file to its last byte and check all guarantees of the layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa

from probes import schema
from probes.schema.part_checks import key_names, schema_problems
from probes.schema.stored_json import stored_json
from probes.storage.columns import RECORDED
from probes.storage.counting import counted
from probes.storage.damage import naming, reason
from probes.storage.files import StoreFiles
from probes.storage.key_order import Fault, key_faults
from probes.storage.log import find_segments, read_segment
from probes.storage.part_checksum import checksum_problem
from probes.storage.recovery import DAMAGED
from probes.storage.run_row import RUN_FILE
from probes.storage.strangers import strangers


@dataclass
class Verified:
    """The files that were read, and their faults.

    Attributes:
        files: Number of Parquet files read.
        rows: Number of rows in them.
        faults: Violations of the layout's guarantees.
        notes: Facts that are no faults: rows of dead writers that wait in the log.
    """

    files: int = 0
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(files: StoreFiles, runs: Iterable[str] | None = None) -> Verified:
    """Check every file of a store, or of some of its runs. A damaged file is a fault and stops nothing.

    A Parquet file must match its checksum, decode, and have the number of rows that it declares, the columns and types
    of the schema, and a schema version known here. Within a run, each key occurs once, steps do not decrease, and each
    log segment is in one part. A run has one row in ``runs``, whose JSON parses. A message in a log matches its
    checksum. A store has no links, and its folders are named after runs. This is checked only if all runs are verified.

    Raises:
        ValueError: One of ``runs`` is not in the store.
    """
    known = sorted({*files.runs(), *files.workspaces()})
    wanted = known if runs is None else list(runs)
    absent = sorted(set(wanted) - set(known))
    if absent:
        raise ValueError(f"store {files.name} has no run {', '.join(absent)}; it has {', '.join(known) or 'none'}")
    found = Verified()
    if runs is None:
        found.faults += [Fault(str(path), problem) for path, problem in strangers(files)]
    for run in wanted:
        for table in RECORDED:
            _verify_table(files, table, run, found)
        if files.has_run(run):
            _verify_run_row(files, run, found)
        _verify_log(files, run, found)
    return found


class _Read(NamedTuple):
    """The content of a part: number of rows, problems of its columns, and the keys of its rows if there are none."""

    rows: int
    problems: list[str]
    keys: pa.Table | None


def _verify_table(files: StoreFiles, table: str, run: str, found: Verified) -> None:
    names, folder = files.parts(table, run), files.folder(table, run)
    others = sorted(set(files.parquet_names(table, run)) - set(names))
    found.faults += [
        Fault(f"{folder}/{name}", "is not a part that meandrift wrote, but readers count its rows") for name in others
    ]
    found.faults += [Fault(f"{folder}/{name}", problem) for name, problem in _overlaps(names)]
    keys: list[tuple[str, pa.Table]] = []
    for name in names:
        path = f"{folder}/{name}"
        try:
            read = _read(files, table, run, name)
        except OSError as error:
            found.faults.append(Fault(path, f"cannot be read: {reason(error)}"))
            continue
        found.files += 1
        found.rows += read.rows
        found.faults += [Fault(path, problem) for problem in read.problems]
        if read.keys is not None:
            keys.append((path, read.keys))
    found.faults += key_faults(keys)


def _read(files: StoreFiles, table: str, run: str, name: str) -> _Read:
    """Read a part row group by row group, so that memory stays bounded.

    Raises:
        OSError: It cannot be read.
    """
    with files.open_part(table, run, name) as part:
        problems = list(schema_problems(table, part.schema_arrow))
        wanted = key_names(table)
        keys, rows = [], 0
        for index in range(part.num_row_groups):
            group = part.read_row_group(index)
            group.validate(full=True)
            rows += group.num_rows
            keys.append(_plain(group.select(wanted)) if not problems else group.select([]))
        if rows != part.metadata.num_rows:
            problems.append(f"says it has {counted(part.metadata.num_rows, 'row')} and has {rows}")
    problems += _changes(files, table, run, name)
    return _Read(rows, problems, pa.concat_tables(keys) if keys and not problems else None)


def _changes(files: StoreFiles, table: str, run: str, name: str) -> list[str]:
    with naming(f"{files.folder(table, run)}/{name}"), files.open_file(table, run, name) as file:
        problem = checksum_problem(file)
    return [] if problem is None else [problem]


def _plain(keys: pa.Table) -> pa.Table:
    return pa.table(
        {name: keys[name].cast(pa.string()) if name != schema.STEP else keys[name] for name in keys.column_names}
    )


def _overlaps(names: list[str]) -> Iterator[tuple[str, str]]:
    spans = [(schema.part_range(name) or (0, 0), name) for name in names]
    for ((_, last), earlier), ((first, _), later) in pairwise(spans):
        if first <= last:
            yield later, f"holds log segments that {earlier} holds too"


def _verify_run_row(files: StoreFiles, run: str, found: Verified) -> None:
    path = f"{files.folder(schema.RUNS, run)}/{RUN_FILE}"
    others = sorted(set(files.parquet_names(schema.RUNS, run)) - {RUN_FILE})
    found.faults += [Fault(path.replace(RUN_FILE, name), "is a second row of the run") for name in others]
    try:
        with files.open_part(schema.RUNS, run, RUN_FILE) as part:
            problems = list(schema_problems(schema.RUNS, part.schema_arrow))
            rows = part.read().to_pylist()
        problems += _changes(files, schema.RUNS, run, RUN_FILE)
    except FileNotFoundError:
        found.faults.append(Fault(path, "is missing: the run has no row in `runs`"))
        return
    except OSError as error:
        found.faults.append(Fault(path, f"cannot be read: {reason(error)}"))
        return
    found.files, found.rows = found.files + 1, found.rows + len(rows)
    if len(rows) != 1:
        problems.append(f"has {counted(len(rows), 'row')}, expected one")
    problems += [problem for row in rows for problem in _json_problems(row)]
    found.faults += [Fault(path, problem) for problem in problems]


def _json_problems(row: dict[str, object]) -> Iterator[str]:
    for name, kind in (("config", dict), ("versions", dict), ("gaps", list)):
        try:
            if row.get(name) is not None:
                stored_json(str(row[name]), kind)
        except ValueError as problem:
            yield f"{name} {problem}"


def _verify_log(files: StoreFiles, run: str, found: Verified) -> None:
    """Read the messages in a run's log segments.

    A live writer may bring the segments into parts meanwhile.
    """
    waiting = 0
    for folder in (files.workspace(run), files.spilled(run)):
        for table in RECORDED:
            for path in find_segments(folder, table).values():
                waiting += 1
                try:
                    found.faults += [Fault(str(path), problem) for problem in read_segment(path).faults]
                except FileNotFoundError:
                    waiting -= 1
                except (OSError, schema.NewerSchemaError) as error:
                    found.faults.append(Fault(str(path), f"cannot be read: {reason(error)}"))
        aside = sorted(folder.glob(f"{DAMAGED}*.arrows")) if folder.is_dir() else []
        found.notes += [f"run {run!r}: {path} was damaged; its sound rows are in a part" for path in aside]
    if waiting:
        found.notes.append(f"run {run!r}: {counted(waiting, 'log segment')} not in parts yet")
