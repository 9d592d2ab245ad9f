"""A store of recorded runs, opened once and handed to every reader."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds

from analysis.reading.files import recorded_rows, remote_parts
from analysis.reading.files.local_files import existing_store, left_out
from analysis.reading.files.parquet_parts import damage_of
from analysis.reading.files.recorded_rows import RunRows
from analysis.reading.selection import Patterns, abbreviated, as_list, matching
from analysis.reading.table_dataset import united
from probes import schema

_ATTEMPTS = 5
_TAGS = "tags"
_Found = TypeVar("_Found")


class Store:
    """The tables of recorded runs in a folder or at a URL.

    Opening reads nothing. A table is listed and opened at its first use and then kept, so that all readers of one Store
    see the same files. Rows in logs are kept in memory, in most cases at most 16 MiB per run. To see rows that are
    recorded later, open the store anew.

    Attributes:
        location: The folder or URL, as it was passed.
        folder: The folder, or None for a store that is not on this machine.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = os.fspath(location)
        self._filesystem, self._root = remote_parts.filesystem_of(self.location)
        self.folder = Path(self._root) if self._filesystem is None else None
        self._runs: dict[str, list[str]] = {}
        self._rows: dict[tuple[str, tuple[str, ...]], list[RunRows]] = {}
        self._datasets: dict[tuple[str, tuple[str, ...]], ds.Dataset] = {}
        self._remote: dict[str, dict[str, list[str]]] = {}
        self._sets: dict[str, frozenset[str]] = {}
        self._damaged: set[str] = set()

    @classmethod
    def open(cls, store: AnyStore) -> Store:
        """Return a store from its folder or URL; a Store is returned as it is.

        Raises:
            ValueError: The URL has a scheme that neither pyarrow nor an installed fsspec knows.
        """
        return store if isinstance(store, Store) else cls(store)

    def __str__(self) -> str:
        return self.location

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.location,)  # another process lists the store for itself

    @property
    def name(self) -> str:
        """The last part of the folder or URL."""
        return self.folder.resolve().name if self.folder is not None else self._root.rpartition("/")[2]

    def check(self) -> None:
        """Raise if there is no such folder.

        Raises:
            FileNotFoundError: There is no such path.
            ValueError: The path is a file.
        """
        if self.folder is not None:
            existing_store(self.folder)

    def exists(self) -> bool:
        """Tell whether there is such a folder; a URL is taken to exist."""
        return self.folder is None or self.folder.is_dir()

    def runs_of(self, table: str) -> list[str]:
        """Return the ids of the runs that have a folder or a log in a table, sorted.

        Raises:
            FileNotFoundError: There is no such path.
            ValueError: The path is a file, or ``table`` is none of the store's tables.
        """
        if table not in schema.TABLES:
            raise ValueError(f"no table {table!r}; a store has {', '.join(schema.TABLES)}")
        self.check()
        if table not in self._runs:
            if self.folder is not None:
                self._runs[table] = recorded_rows.runs_of(self.folder, table)
            else:
                self._runs[table] = sorted(self._remote_parts(table))
        return self._runs[table]

    def run_ids(self, runs: Patterns = None) -> list[str]:
        """Return the ids of the runs that have a folder or a log in any table, or of those that match, sorted.

        Raises:
            FileNotFoundError: There is no such path.
            ValueError: The path is a file, or no run matches.
        """
        known = sorted({run for table in schema.TABLES for run in self.runs_of(table)})
        return matching(self._with_tags(runs), known, what="run")

    def tables(self) -> list[str]:
        """Return the tables in which a run has a folder or a log."""
        return [table for table in schema.TABLES if self.runs_of(table)]

    def rows(self, table: str, runs: Patterns = None) -> list[RunRows]:
        """Return the parts and log segments of a table, for each chosen run that has rows, sorted by run.

        Args:
            table: A table.
            runs: Run ids or patterns; the parts and logs of other runs are not listed.

        Raises:
            FileNotFoundError: There is no such path, or a part vanished during the search.
            ValueError: There is no such table, or no run of the store matches.
        """
        key = table, tuple(self._chosen(table, runs))
        if key not in self._rows:
            listed = self._listed_with(*key)
            if listed is not None:  # listed once for many runs, not again for each
                found = [rows for rows in listed if rows.run in key[1]]
            elif self.folder is not None:
                found = recorded_rows.find_rows(self.folder, *key)
            else:
                parts = self._remote_parts(table)
                found = [RunRows(run, parts[run], []) for run in key[1] if run in parts]
            self._rows[key] = [sound for rows in found if (sound := rows.without(self._damaged)) is not None]
        return self._rows[key]

    def _listed_with(self, table: str, runs: tuple[str, ...]) -> list[RunRows] | None:
        """Return the rows of a table that were already listed for these runs and others; None if there are none."""
        covering = (rows for (name, those), rows in self._rows.items() if name == table and {*runs} <= {*those})
        return next(covering, None)

    def dataset(self, table: str, runs: Patterns = None) -> ds.Dataset:
        """Return a table with the column ``run`` and every column that a part or a log of the runs has.

        Rows come run by run, in the order in which they were recorded.

        Raises:
            FileNotFoundError: There is no such store, or a part vanished while it was opened.
            ValueError: There are no rows; the message lists the tables of the store.
        """
        found = self.rows(table, runs)
        if not found:
            raise ValueError(self._nothing_found(table, runs))
        key = table, tuple(rows.run for rows in found)
        if key not in self._datasets:
            dataset = united(found, table, self._filesystem)
            if dataset is None:
                raise ValueError(self._nothing_found(table, runs))
            self._datasets[key] = dataset
        return self._datasets[key]

    def retrying(
        self, read: Callable[[], _Found], *, vanished: tuple[type[Exception], ...] = (FileNotFoundError,)
    ) -> _Found:
        """Return the result of ``read``; read again without damaged parts, or list again if a part vanished.

        A run that is flushed or closed replaces small parts by larger ones between the listing and the reading. A part
        whose damage shows while it is read is left out with a warning.

        Args:
            read: Reads from this store.
            vanished: Errors that mean that a part is no longer there.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return read()
            except vanished:
                self._forget()
                if attempt == _ATTEMPTS - 1 or not self.exists():
                    raise
                time.sleep(0.05 * 2**attempt)
            except (pa.ArrowException, UnicodeDecodeError, OSError, MemoryError, OverflowError):
                if not self.leave_out_damaged():
                    raise
        raise AssertionError("unreachable")

    def leave_out_damaged(self) -> bool:
        """Read all listed parts, leave out those that are damaged, and return whether there are any."""
        listed = {part for found in self._rows.values() for rows in found for part in rows.parts}
        for part in sorted(listed - self._damaged):
            if (damage := damage_of(part, self._filesystem)) is not None:
                left_out(part, damage)
                self._damaged.add(part)
        if listed & self._damaged:
            self._forget()
        return bool(listed & self._damaged)

    def vanished_part(self) -> str | None:
        """Return a listed part that is no longer there, or None; only stores in folders are checked."""
        if self.folder is None:
            return None
        listed = (part for found in self._rows.values() for rows in found for part in rows.parts)
        return next((part for part in listed if not Path(part).exists()), None)

    def why_empty(self) -> str:
        """Return the sentence that says why no table has rows."""
        if self.folder is None:
            return (
                f"store {self.location!r} has no part of any table: check the URL; rows of a run that is recorded, or "
                "was killed, wait on its machine for a flush or 'meandrift recover'"
            )
        return (
            f"store {self.location!r} is empty: no run has recorded anything yet; attach a Probe to a training, or "
            "check the path"
        )

    def _forget(self) -> None:
        for listed in (self._runs, self._rows, self._datasets, self._remote, self._sets):
            listed.clear()

    def _remote_parts(self, table: str) -> dict[str, list[str]]:
        if table not in self._remote:
            self._remote[table] = remote_parts.parts_by_run(self._filesystem, f"{self._root}/{table}")
        return self._remote[table]

    def _chosen(self, table: str, runs: Patterns) -> list[str]:
        there = self.runs_of(table)
        if not there:
            return []
        runs = self._with_tags(runs)
        if table not in self._sets:
            self._sets[table] = frozenset(there)
        if isinstance(runs, str) and runs in self._sets[table]:
            return [runs]  # findings ask run by run, so the other runs are not searched each time
        with suppress(ValueError):
            return matching(runs, there, what="run")
        # A run of the store need not have rows in every table; only a run that is in no table is a mistake.
        known = self.run_ids(runs)
        return [run for run in there if run in known]

    def _with_tags(self, runs: Patterns) -> Patterns:
        """Return patterns with each ``tag:PATTERN`` replaced by the ids of the runs that have such a tag."""
        wanted = [] if runs is None else as_list(runs)
        if not any(map(schema.has_tag_prefix, wanted)):
            return runs
        rows = self.dataset(schema.RUNS).to_table()
        texts = rows[_TAGS].to_pylist() if _TAGS in rows.column_names else [None] * rows.num_rows
        tags = {run: schema.parsed_tags(text) for run, text in zip(rows[schema.RUN].to_pylist(), texts, strict=True)}
        return schema.with_tags(wanted, tags)

    def _nothing_found(self, table: str, runs: Patterns) -> str:
        there = self.runs_of(table)
        if runs is not None and there:
            may_have = abbreviated(there)
            return f"store {self.location!r}: run {runs!r} has no rows in table {table!r}; {may_have} may have some"
        present = [name for name in self.tables() if name != table]
        if not present:
            return self.why_empty()
        return f"store {self.location!r} has no table {table!r}; it has {', '.join(present)}"


AnyStore = str | os.PathLike[str] | Store
"""A store as readers accept it: its folder, its URL, or an open Store."""
