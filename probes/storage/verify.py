"""Verify a store: read every file to its last byte and check all that the layout promises."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from probes import schema
from probes.storage.columns import RECORDED, declared_fields, key_names
from probes.storage.counting import counted
from probes.storage.files import StoreFiles
from probes.storage.log import find_segments
from probes.storage.run_row import RUN_FILE
from probes.storage.strangers import strangers


class Fault(NamedTuple):
    """One thing that is wrong: where, and what."""

    path: str
    problem: str


@dataclass
class Verified:
    """What was read, and what is wrong with it.

    Attributes:
        files: Number of Parquet files read.
        rows: Number of rows in them.
        faults: What breaks the store's promises.
        notes: What is no fault: rows of dead writers that wait in the log.
    """

    files: int = 0
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(files: StoreFiles, runs: Iterable[str] | None = None) -> Verified:
    """Check every file of a store, or of some of its runs.

    Each Parquet file must decode with right page checksums, have as many rows as it says, the declared columns with
    their types and a schema version known here. Over a run, no key may come twice, no step before an earlier one, and
    no log segment stand in two parts. A run has one row in `runs`, with JSON that parses. A store has no links and no
    folders whose name is no run's; these are looked for where all runs are verified.

    Raises:
        ValueError: One of ``runs`` is not in the store.
    """
    known = files.runs()
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
        _verify_run_row(files, run, found)
        waiting = [path.name for table in RECORDED for path in find_segments(files.workspace(run), table).values()]
        waiting += [path.name for table in RECORDED for path in find_segments(files.spilled(run), table).values()]
        if waiting:
            found.notes.append(f"run {run!r}: {counted(len(waiting), 'log segment')} not in parts yet")
    return found


def _verify_table(files: StoreFiles, table: str, run: str, found: Verified) -> None:
    names = files.parts(table, run)
    folder = files.folder(table, run)
    strangers = sorted(set(files.parquet_names(table, run)) - set(names))
    found.faults += [Fault(f"{folder}/{name}", "is no part of ours, but readers count its rows") for name in strangers]
    found.faults += [Fault(f"{folder}/{name}", problem) for name, problem in _overlaps(names)]
    keys = []
    for name in names:
        path = f"{folder}/{name}"
        try:
            with files.open_part(table, run, name) as part:
                problems = list(_schema_problems(table, part.schema_arrow))
                rows = part.read()
        except (OSError, pa.ArrowException) as error:
            found.faults.append(Fault(path, f"cannot be read: {_first_line(error)}"))
            continue
        found.files += 1
        found.rows += rows.num_rows
        if rows.num_rows != part.metadata.num_rows:
            found.faults.append(
                Fault(path, f"says it has {counted(part.metadata.num_rows, 'row')} and has {rows.num_rows}")
            )
        found.faults += [Fault(path, problem) for problem in problems]
        if not problems:
            keys.append((path, _plain(rows.select(key_names(table)))))
    found.faults += _key_faults(keys)


def _overlaps(names: list[str]) -> Iterator[tuple[str, str]]:
    spans = [(schema.part_range(name) or (0, 0), name) for name in names]
    for ((_, last), earlier), ((first, _), later) in pairwise(spans):
        if first <= last:
            yield later, f"holds log segments that {earlier} holds too"


def _schema_problems(table: str, stored: pa.Schema) -> Iterator[str]:
    version = (stored.metadata or {}).get(b"meandrift.schema_version", b"").decode()
    if not version.isdecimal() or int(version) > schema.SCHEMA_VERSION:
        yield f"has schema version {version or 'none'}; this meandrift knows 1 to {schema.SCHEMA_VERSION}"
    if schema.RUN in stored.names:
        yield f"has a column {schema.RUN!r}, which only the path may say"
    missing = [name for name in key_names(table) if name not in stored.names]
    if missing:
        yield f"lacks the key columns {', '.join(missing)}"
    for column in stored:
        declared = declared_fields(table).get(column.name)
        if declared is not None and declared.type != column.type:
            yield f"column {column.name!r} is {column.type}, expected {declared.type}"


def _plain(keys: pa.Table) -> pa.Table:
    return pa.table(
        {name: keys[name].cast(pa.string()) if name != schema.STEP else keys[name] for name in keys.column_names}
    )


def _key_faults(keys: list[tuple[str, pa.Table]]) -> Iterator[Fault]:
    previous: dict[str, tuple[int, str]] = {}
    for path, rows in keys:
        if rows[schema.STEP].null_count:
            yield Fault(path, f"has {counted(rows[schema.STEP].null_count, 'row')} without a step")
            continue
        yield from _backward_steps(path, rows, previous)
    if keys:
        yield from _repeated_keys(keys)


def _backward_steps(path: str, rows: pa.Table, previous: dict[str, tuple[int, str]]) -> Iterator[Fault]:
    """Steps may not fall, for each split by itself: an evaluation may be recorded late."""
    splits = rows[schema.SPLIT] if schema.SPLIT in rows.column_names else pa.chunked_array([["-"] * rows.num_rows])
    for split in pc.unique(splits).to_pylist():
        mask = pc.equal(splits, split) if split is not None else pc.is_null(splits)
        steps = rows[schema.STEP].filter(mask).combine_chunks()
        first, last = steps[0].as_py(), steps[-1].as_py()
        if len(steps) > 1 and pc.any(pc.less(steps[1:], steps[:-1])).as_py():
            yield Fault(path, "has steps that fall")
        if str(split) in previous and first < previous[str(split)][0]:
            yield Fault(path, f"begins at step {first}, before the end of {previous[str(split)][1]}")
        previous[str(split)] = (last, path)


def _repeated_keys(keys: list[tuple[str, pa.Table]]) -> Iterator[Fault]:
    everything = pa.concat_tables(rows for _, rows in keys)
    names = everything.column_names
    counted = everything.group_by(names).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1))
    if repeated.num_rows:
        example = {name: repeated[name][0].as_py() for name in names}
        holders = [path for path, rows in keys if _has_row(rows, example)]
        yield Fault(holders[-1], f"has repeated keys ({repeated.num_rows}): {example} is one, in {holders}")


def _has_row(rows: pa.Table, key: dict[str, object]) -> bool:
    return any(row == key for row in rows.filter(pc.equal(rows[schema.STEP], key[schema.STEP])).to_pylist())


def _verify_run_row(files: StoreFiles, run: str, found: Verified) -> None:
    path = f"{files.folder(schema.RUNS, run)}/{RUN_FILE}"
    strangers = sorted(set(files.parquet_names(schema.RUNS, run)) - {RUN_FILE})
    found.faults += [Fault(path.replace(RUN_FILE, name), "is a second row of the run") for name in strangers]
    try:
        with files.open_part(schema.RUNS, run, RUN_FILE) as part:
            rows = part.read().to_pylist()
    except FileNotFoundError:
        found.faults.append(Fault(path, "is missing: the run has no row in `runs`"))
        return
    except (OSError, pa.ArrowException) as error:
        found.faults.append(Fault(path, f"cannot be read: {_first_line(error)}"))
        return
    found.files, found.rows = found.files + 1, found.rows + len(rows)
    if len(rows) != 1:
        found.faults.append(Fault(path, f"has {counted(len(rows), 'row')}, expected one"))
    for row in rows:
        found.faults += [Fault(path, problem) for problem in _row_problems(row)]


def _row_problems(row: dict[str, object]) -> Iterator[str]:
    for name, kind in (("config", dict), ("versions", dict), ("gaps", list)):
        try:
            if row.get(name) is not None and not isinstance(json.loads(str(row[name])), kind):
                yield f"{name} is no JSON {kind.__name__}"
        except ValueError:
            yield f"{name} is no JSON"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
