"""Keys of a run's rows: each key occurs once, and steps do not decrease."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from probes import schema
from probes.storage.counting import counted


class Fault(NamedTuple):
    """One fault: its place and a description."""

    path: str
    problem: str


def key_faults(keys: list[tuple[str, pa.Table]]) -> Iterator[Fault]:
    """Yield the faults in the keys of a run and table.

    Args:
        keys: For each part, in row order, its path and the key columns of its rows, words as strings.
    """
    previous: dict[str, tuple[int, str]] = {}
    for path, rows in keys:
        if rows[schema.STEP].null_count:
            yield Fault(path, f"has {counted(rows[schema.STEP].null_count, 'row')} without a step")
            continue
        yield from _backward_steps(path, rows, previous)
    if keys:
        yield from _repeated_keys(keys)


def _backward_steps(path: str, rows: pa.Table, previous: dict[str, tuple[int, str]]) -> Iterator[Fault]:
    """Yield faults where steps decrease, for each split by itself, because an evaluation may be recorded late."""
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
        yield Fault(holders[-1], f"has repeated keys ({repeated.num_rows:,}): {example} is one, in {holders}")


def _has_row(rows: pa.Table, key: dict[str, object]) -> bool:
    return any(row == key for row in rows.filter(pc.equal(rows[schema.STEP], key[schema.STEP])).to_pylist())
