"""Compaction: joins small parts.

No reader ever counts a row twice or misses a row.

The compacted parts are written into a separate folder. This folder is then exchanged with the run's part folder in one
step. The name of a compacted part has never been used before. A reader that listed the old folder and opens an old part
after the exchange therefore gets FileNotFoundError, never wrong rows, and lists the folder again. File systems that
cannot exchange folders (object stores, some network file systems) keep the small parts, which stay correct.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from probes import schema
from probes.storage.columns import RECORDED
from probes.storage.durability import sync
from probes.storage.exchange import exchange
from probes.storage.files import LocalStoreFiles, StoreFiles
from probes.storage.parts import GROUP_BYTES, ROW_GROUP_ROWS, fitted, write_parquet
from probes.storage.safe_files import is_regular, remove

LARGE_ROWS = 16 * ROW_GROUP_ROWS  # joining a part this large gains nothing: it is linked, not rewritten


@dataclass(frozen=True)
class Compacted:
    """The number of parts of one table of a run before and after compaction; equal if nothing could be joined."""

    table: str
    before: int
    after: int


def compact_run(files: StoreFiles, run: str) -> list[Compacted]:
    """Join the small parts of every table of a run. The caller owns the run and no one else writes to it.

    Raises:
        OSError: A part cannot be read, or the disk is full. The run is as it was.
        NewerSchemaError: A part was written under a later schema version.
    """
    return [_compact_table(files, table, run) for table in RECORDED if files.parts(table, run)]


class _Source(NamedTuple):
    """One table of one run, and the names of its parts in row order."""

    files: LocalStoreFiles
    table: str
    run: str
    names: list[str]

    @property
    def folder(self) -> Path:
        return Path(self.files.folder(self.table, self.run))

    def open(self, name: str) -> pq.ParquetFile:
        return self.files.open_part(self.table, self.run, name)


def _compact_table(files: StoreFiles, table: str, run: str) -> Compacted:
    names = files.parts(table, run)
    unchanged = Compacted(table, len(names), len(names))
    if not isinstance(files, LocalStoreFiles) or len(names) < 2:
        return unchanged
    source = _Source(files, table, run, names)
    joined = _joined_schema(source)
    groups = _groups(source, joined)
    if len(groups) == len(names) or not all(map(is_regular, source.folder.iterdir())):
        return unchanged
    staged = files.workspace(run) / f"compacted-{table}"
    staged.mkdir()
    try:
        for group in groups:
            _join(source, group, joined, staged)
        done = _change_places(source, staged)
    finally:
        remove(staged)
    return Compacted(table, len(names), len(groups)) if done else unchanged


def _joined_schema(source: _Source) -> pa.Schema:
    schemas = []
    for name in source.names:
        with source.open(name) as part:
            schema.check_readable(part.schema_arrow.metadata, source.folder / name)
            schemas.append(part.schema_arrow)
    try:
        return schema.unified(schemas)
    except pa.ArrowTypeError as error:
        raise OSError(f"parts in {source.folder} cannot be joined: {error}") from error


def _groups(source: _Source, joined: pa.Schema) -> list[list[str]]:
    """Group neighbouring small parts of one schema version.

    A large part that has all columns is a separate group.
    """
    groups: list[list[str]] = []
    last_stays, last_version = True, None
    for name in source.names:
        with source.open(name) as part:
            stays = part.metadata.num_rows >= LARGE_ROWS and part.schema_arrow.equals(joined)
            version = schema.version_of(part.schema_arrow.metadata)
        if stays or last_stays or version != last_version:
            groups.append([])
        groups[-1].append(name)
        last_stays, last_version = stays, version
    return groups


def _join(source: _Source, names: list[str], joined: pa.Schema, staged: Path) -> None:
    if len(names) == 1:
        os.link(source.folder / names[0], staged / names[0])
        return
    spans = [span for span in map(schema.part_range, names) if span is not None]
    path = staged / schema.part_name(spans[0][0], spans[-1][1])
    with source.open(names[0]) as part:
        of_version = joined.with_metadata(part.schema_arrow.metadata)
    write_parquet(path, _gathered(_tables(source, names, of_version)), of_version)


def _tables(source: _Source, names: list[str], joined: pa.Schema) -> Iterator[pa.Table]:
    for name in names:
        with source.open(name) as part:
            for index in range(part.num_row_groups):
                # Reading two small parts at the end of a training took 19 MB with threads, and 5 MB without.
                yield fitted(part.read_row_group(index, use_threads=False), joined)


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Gather tables until they fill a row group, so that memory stays bounded."""
    gathered: list[pa.Table] = []
    for table in tables:
        gathered.append(table)
        rows, nbytes = (sum(getattr(part, size) for part in gathered) for size in ("num_rows", "nbytes"))
        if rows >= ROW_GROUP_ROWS or nbytes >= GROUP_BYTES:
            yield _in_one_piece(gathered)
    if gathered:
        yield _in_one_piece(gathered)


def _in_one_piece(gathered: list[pa.Table]) -> pa.Table:
    """Join the tables of a list and empty the list, so that they are freed before the row group is encoded."""
    whole = pa.concat_tables(gathered).combine_chunks()
    gathered.clear()
    return whole


def _change_places(source: _Source, staged: Path) -> bool:
    for path in source.folder.iterdir():
        if path.name not in source.names:
            os.link(path, staged / path.name)  # a file of another program: keep it
    if source.files.fsync:
        for path in (*staged.iterdir(), staged):
            sync(path)
    done = exchange(staged, source.folder)
    if source.files.fsync:
        sync(source.folder.parent)
    return done
