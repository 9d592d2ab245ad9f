"""The files of a store: where parts stand and how one comes in whole, on a local disk or an object store."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from probes import schema
from probes.storage.durability import sync
from probes.storage.parts import segment_range, write_parquet

WORKSPACES = "_writers"  # begins with "_": readers of a Parquet folder pass over it
CHECKPOINTS = "_checkpoints"  # in the spool, <id>.pt each: not the store's own, but deleted with their run
SAMPLES = "samples"  # beside the tables, run=<id> each: likewise
_OBJECT_STORES = {"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az"}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class StoreFiles:
    """A store on any pyarrow file system; a file that is put there appears whole or not at all.

    Attributes:
        name: The store as the user named it.
        filesystem: The pyarrow file system.
        root: The store's path on that file system.
        spool: Local folder for what an object store cannot hold: logs, owners and parts under way.
    """

    def __init__(self, name: str, filesystem: pafs.FileSystem, root: str, spool: Path) -> None:
        self.name, self.filesystem, self.root, self.spool = name, filesystem, root.rstrip("/"), spool

    def workspace(self, run: str) -> Path:
        """Return the local folder that holds a run's owner, log and parts under way."""
        return self.spool / WORKSPACES / run

    def workspaces(self) -> list[str]:
        """Return the runs that have a workspace: those being written and those whose writer died."""
        with suppress(FileNotFoundError, NotADirectoryError):  # who closes the last one deletes the folder
            return sorted(path.name for path in (self.spool / WORKSPACES).iterdir() if path.is_dir())
        return []

    def folder(self, table: str, run: str) -> str:
        """Return the path of a run's part folder, in the file system's own form."""
        return f"{self.root}/{table}/{schema.RUN}={run}"

    def runs(self) -> list[str]:
        """Return the ids of all runs that have a folder in any table."""
        found = [info for table in schema.TABLES for info in self._list(f"{self.root}/{table}")]
        prefix = f"{schema.RUN}="
        return sorted({info.base_name.removeprefix(prefix) for info in found if info.base_name.startswith(prefix)})

    def has_run(self, run: str) -> bool:
        """True if any table has rows of this run."""
        return any(self._list(self.folder(table, run)) for table in schema.TABLES)

    def check_known(self, runs: Iterable[str]) -> None:
        """Refuse runs of which the store holds nothing, neither rows nor a log.

        Raises:
            ValueError: There is one; the message lists those there are.
        """
        known = {*self.runs(), *self.workspaces()}
        if unknown := [run for run in runs if run not in known]:
            raise ValueError(
                f"store {self.name} has no run {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(sorted(known)) or 'none'}"
            )

    def parts(self, table: str, run: str) -> list[str]:
        """Return the names of a run's parts in row order."""
        infos = self._list(self.folder(table, run))
        return sorted(info.base_name for info in infos if segment_range(info.base_name))

    def parquet_names(self, table: str, run: str) -> list[str]:
        """Return the names of all files that a reader of the run's folder takes for its rows, in row order."""
        names = [info.base_name for info in self._list(self.folder(table, run))]
        return sorted(name for name in names if name.endswith(".parquet") and not name.startswith(("_", ".")))

    def size(self, table: str, run: str) -> int:
        """Return the bytes of all files that a table holds of a run."""
        return sum(info.size or 0 for info in self._list(self.folder(table, run)))

    def put(self, table: str, run: str, name: str, rows: Iterable[pa.Table], row_schema: pa.Schema) -> None:
        """Write rows as one Parquet file of the store, whole or not at all, replacing any of that name.

        Raises:
            OSError: The file system refused. Nothing is left behind.
        """
        unfinished = self.workspace(run) / f"{table}.unfinished"
        try:
            write_parquet(unfinished, rows, row_schema)
            self.install(unfinished, table, run, name)
        finally:
            unfinished.unlink(missing_ok=True)

    def install(self, source: Path, table: str, run: str, name: str) -> None:
        """Bring a finished local file into the store, replacing any of that name, in one visible step."""
        folder = self.folder(table, run)
        if self.filesystem.type_name.removeprefix("py::fsspec+") in _OBJECT_STORES:
            self._upload(source, f"{folder}/{name}")  # an object appears when its upload ends: no rename needed
            return
        self.filesystem.create_dir(folder)
        self._upload(source, f"{folder}/_{name}.unfinished")
        self.filesystem.move(f"{folder}/_{name}.unfinished", f"{folder}/{name}")

    def _upload(self, source: Path, path: str) -> None:
        with source.open("rb") as finished, self.filesystem.open_output_stream(path) as remote:
            shutil.copyfileobj(finished, remote, 8 << 20)

    def delete(self, table: str, run: str, name: str) -> None:
        """Delete one part."""
        self.filesystem.delete_file(f"{self.folder(table, run)}/{name}")

    def delete_run(self, table: str, run: str) -> None:
        """Delete all that a table holds of a run."""
        if self._list(self.folder(table, run)):
            self.filesystem.delete_dir(self.folder(table, run))

    def open_part(self, table: str, run: str, name: str) -> pq.ParquetFile:
        """Open a part for reading.

        Raises:
            OSError: It is not there, or no Parquet file; the message names it.
        """
        path = f"{self.folder(table, run)}/{name}"
        try:
            return pq.ParquetFile(path, filesystem=self.filesystem, page_checksum_verification=True)
        except pa.ArrowInvalid as error:
            raise OSError(f"{path} is no readable Parquet file: {error}") from error

    def _list(self, folder: str) -> list[pafs.FileInfo]:
        return self.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))


class LocalStoreFiles(StoreFiles):
    """A store in a local or network folder: parts come in by rename, out of a workspace on the same file system."""

    def __init__(self, name: str, root: Path, *, fsync: bool = False) -> None:
        super().__init__(name, pafs.LocalFileSystem(), root.as_posix(), root)
        self.fsync = fsync

    def install(self, source: Path, table: str, run: str, name: str) -> None:
        """Rename a finished file into place; with ``fsync``, make file and name durable first."""
        folder = Path(self.folder(table, run))
        folder.mkdir(parents=True, exist_ok=True)
        if self.fsync:
            sync(source)
        source.replace(folder / name)
        if self.fsync:
            for named in (folder, folder.parent, folder.parent.parent):
                sync(named)

    def delete(self, table: str, run: str, name: str) -> None:
        """Unlink one part; who has it open reads on."""
        (Path(self.folder(table, run)) / name).unlink()

    def delete_run(self, table: str, run: str) -> None:
        """Move a run's folder out of the readers' sight in one step, then delete it."""
        folder, grave = Path(self.folder(table, run)), self.workspace(run) / f"deleted-{table}"
        if grave.exists():
            shutil.rmtree(grave)
        if folder.exists():
            folder.replace(grave)
            shutil.rmtree(grave)


def open_store(store: str | os.PathLike[str], *, fsync: bool = False) -> StoreFiles:
    """Return the files of a store named by a path or a URL.

    ``s3://``, ``gs://``, ``hdfs://`` and the like go through pyarrow, any other scheme through fsspec. Logs of a store
    that is not a local folder stand in ``$MEANDRIFT_SPOOL``, or else ``$XDG_STATE_HOME/meandrift`` or
    ``~/.local/state/meandrift``.

    Raises:
        ValueError: Neither pyarrow nor fsspec knows the URL's scheme.
    """
    name = os.fspath(store)
    if not _URL.match(name):
        return LocalStoreFiles(name, Path(name).absolute(), fsync=fsync)
    filesystem, root = _filesystem(name)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return LocalStoreFiles(name, Path(root), fsync=fsync)
    return StoreFiles(name, filesystem, root, spool_folder(name))


def spool_folder(url: str) -> Path:
    """Return the local folder for the logs of the store at this URL, one for each URL."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    base = Path(os.environ.get("MEANDRIFT_SPOOL") or Path(state) / "meandrift")
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:12]
    parts = urlsplit(url)
    return base / f"{parts.scheme}-{parts.hostname or ''}-{digest}"  # no more of the URL: it may hold a password


def _filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    try:
        return pafs.FileSystem.from_uri(url)
    except ValueError as unknown_to_pyarrow:  # pyarrow's "unrecognised scheme" is an ArrowInvalid, a ValueError
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # ships no type hints

            filesystem, path = url_to_fs(url)
        except (ImportError, ValueError) as unknown_to_fsspec:
            raise ValueError(
                f"store {url!r}: pyarrow says: {unknown_to_pyarrow}; fsspec says: {unknown_to_fsspec}. "
                "Give a folder, or a URL whose file system is installed."
            ) from unknown_to_fsspec
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path
