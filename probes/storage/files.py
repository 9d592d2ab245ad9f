"""The files of a store: the places of parts, and how a part appears whole, on a local disk or an object store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from probes import schema
from probes.schema.part_checks import size_problem
from probes.storage.damage import DamagedFileError, naming
from probes.storage.durability import sync
from probes.storage.parts import write_parquet
from probes.storage.safe_files import UnsafePathError, check_folder, is_regular, make_file, remove
from probes.storage.spool import spill_folder, spool_folder

CHECKPOINTS = "_checkpoints"  # in the spool, one <id>.pt for each run: not part of the store, but deleted with the run
UNFINISHED = ".unfinished"  # a part that is being written, in a workspace
_OBJECT_STORES = {"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az"}


class StoreFiles:
    """A store on any pyarrow file system; a file that is put there appears whole or not at all.

    Attributes:
        name: The store as the user named it.
        filesystem: The pyarrow file system.
        root: The store's path on that file system.
        spool: Local folder for files that an object store cannot hold: logs, owner files and unfinished parts.
        spill: Local folder for rows that the store still refused at the end.
    """

    def __init__(self, name: str, filesystem: pafs.FileSystem, root: str, spool: Path, spill: Path) -> None:
        self.name, self.filesystem, self.root = name, filesystem, root.rstrip("/")
        self.spool, self.spill = spool, spill

    def workspace(self, run: str) -> Path:
        """Return the local folder that holds a run's owner file, log and unfinished parts.

        Raises:
            UnsafePathError: It is a link, or stands in one.
        """
        return check_folder(self.spool / schema.WRITERS / schema.check_run_id(run), root=self.spool)

    def spilled(self, run: str) -> Path:
        """Return the local folder that holds a run's refused rows, as log segments.

        Raises:
            UnsafePathError: It is a link, or stands in one.
        """
        return check_folder(self.spill / schema.WRITERS / schema.check_run_id(run), root=self.spill)

    def checkpoint(self, run: str) -> Path:
        """Return the local file of a run's checkpoint.

        Raises:
            UnsafePathError: Its folder is a link.
        """
        folder = check_folder(self.spool / CHECKPOINTS, root=self.spool)
        return folder / f"{schema.check_run_id(run)}.pt"

    def workspaces(self) -> list[str]:
        """Return the runs that have rows in a log: runs being written, and runs whose writer died."""
        return sorted({*_run_folders(self.spool), *_run_folders(self.spill)})

    def folder(self, table: str, run: str) -> str:
        """Return the path of a run's part folder, in the file system's own form."""
        return f"{self.root}/{table}/{schema.run_folder(schema.check_run_id(run))}"

    def runs(self) -> list[str]:
        """Return the ids of all runs that have a folder in any table; folders whose name is no run id are left out."""
        prefix = f"{schema.RUN}="
        folders = [info.base_name for table in schema.TABLES for info in self._list(f"{self.root}/{table}")]
        ids = {name.removeprefix(prefix) for name in folders if name.startswith(prefix)}
        return sorted(run for run in ids if schema.is_run_id(run))

    def has_run(self, run: str) -> bool:
        """True if any table has rows of this run."""
        return any(self._list(self.folder(table, run)) for table in schema.TABLES)

    def check_known(self, runs: Iterable[str]) -> None:
        """Refuse runs of which the store holds neither rows nor a log.

        Raises:
            ValueError: The store does not have one of the runs. The message lists the valid names.
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
        return sorted(info.base_name for info in infos if schema.part_range(info.base_name))

    def parquet_names(self, table: str, run: str) -> list[str]:
        """Return the names of all files in the run's folder that a Parquet reader would read, in row order."""
        names = [info.base_name for info in self._list(self.folder(table, run))]
        return sorted(name for name in names if name.endswith(".parquet") and not name.startswith(("_", ".")))

    def size(self, table: str, run: str) -> int:
        """Return the bytes of all files of a run in a table."""
        return sum(info.size or 0 for info in self._list(self.folder(table, run)))

    def put(self, table: str, run: str, name: str, rows: Iterable[pa.Table], row_schema: pa.Schema) -> None:
        """Write rows as one Parquet file of the store, whole or not at all, replacing any of that name.

        Raises:
            OSError: The file system refused. Nothing is left behind.
        """
        unfinished = self.workspace(run) / f"{table}{UNFINISHED}"
        try:
            os.close(make_file(unfinished))
            write_parquet(unfinished, rows, row_schema)
            self.install(unfinished, table, run, name)
        finally:
            unfinished.unlink(missing_ok=True)

    def install(self, source: Path, table: str, run: str, name: str) -> None:
        """Bring a finished local file into the store in one visible step. A file of that name is replaced."""
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
        """Delete all files of a run in a table."""
        if self._list(self.folder(table, run)):
            self.filesystem.delete_dir(self.folder(table, run))

    @contextmanager
    def open_part(self, table: str, run: str, name: str) -> Iterator[pq.ParquetFile]:
        """Open a part for reading inside the block.

        Raises:
            FileNotFoundError: It is not there.
            DamagedFileError: It, or what the block reads of it, is no Parquet, or it would fill the memory.
        """
        with (
            naming(f"{self.folder(table, run)}/{name}"),
            self.open_file(table, run, name) as file,
            pq.ParquetFile(file, page_checksum_verification=True) as part,
        ):
            if problem := size_problem(part.metadata, file.size()):
                raise DamagedFileError(f"{self.folder(table, run)}/{name} {problem}")
            yield part

    def open_file(self, table: str, run: str, name: str) -> pa.NativeFile:
        """Open the bytes of a part.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        return self.filesystem.open_input_file(f"{self.folder(table, run)}/{name}")

    def _list(self, folder: str) -> list[pafs.FileInfo]:
        return self.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))


class LocalStoreFiles(StoreFiles):
    """A store in a local or network folder: parts come in by rename, out of a workspace on the same file system.

    Links, FIFOs and the like in the folder are neither listed nor followed.
    """

    def __init__(self, name: str, root: Path, *, fsync: bool = False) -> None:
        super().__init__(name, pafs.LocalFileSystem(), root.as_posix(), root, spill_folder(root))
        self.fsync = fsync

    def install(self, source: Path, table: str, run: str, name: str) -> None:
        """Rename a finished file into place; with ``fsync``, make file and name durable first.

        Raises:
            UnsafePathError: The table's or the run's folder is a link.
        """
        folder = check_folder(Path(self.folder(table, run)), root=self.spool, make=True)
        if self.fsync:
            sync(source)
        source.replace(folder / name)
        if self.fsync:
            for named in (folder, folder.parent, folder.parent.parent):
                sync(named)

    def delete(self, table: str, run: str, name: str) -> None:
        """Unlink one part; who has it open reads on."""
        (self._checked(self.folder(table, run)) / name).unlink()

    def delete_run(self, table: str, run: str) -> None:
        """Rename a run's folder to a place where no reader looks, in one step, then delete it."""
        folder, grave = Path(self.folder(table, run)), self.workspace(run) / f"deleted-{table}"
        check_folder(folder.parent, root=self.spool)
        with suppress(FileNotFoundError):
            remove(grave)
        with suppress(FileNotFoundError):
            folder.replace(grave)  # of a folder that is a link, the link
            remove(grave)

    def open_file(self, table: str, run: str, name: str) -> pa.NativeFile:
        """Open the bytes of a part.

        Raises:
            OSError: It is not there, cannot be read, or is a link.
        """
        path = self._checked(self.folder(table, run)) / name
        if path.is_symlink() or (path.exists() and not is_regular(path)):
            raise UnsafePathError(f"{path} is not a regular file, so it is not read")
        return super().open_file(table, run, name)

    def _checked(self, folder: str) -> Path:
        return check_folder(Path(folder), root=self.spool)

    def _list(self, folder: str) -> list[pafs.FileInfo]:
        with suppress(FileNotFoundError, UnsafePathError), os.scandir(self._checked(folder)) as entries:
            return [_info(entry) for entry in entries if entry.is_file(follow_symlinks=False) or _is_folder(entry)]
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _info(entry: os.DirEntry[str]) -> pafs.FileInfo:
    if _is_folder(entry):
        return pafs.FileInfo(entry.path, type=pafs.FileType.Directory)
    size = 0
    with suppress(FileNotFoundError):  # deleted since it was listed
        size = entry.stat(follow_symlinks=False).st_size
    return pafs.FileInfo(entry.path, type=pafs.FileType.File, size=size)


def _run_folders(base: Path) -> list[str]:
    """Return the runs that have a folder under ``base``, where logs stand."""
    # Who closes the last run deletes the folder.
    with (
        suppress(FileNotFoundError, NotADirectoryError, UnsafePathError),
        os.scandir(check_folder(base / schema.WRITERS, root=base)) as entries,
    ):
        return [entry.name for entry in entries if _is_folder(entry) and schema.is_run_id(entry.name)]
    return []


def open_store(store: str | os.PathLike[str], *, fsync: bool = False) -> StoreFiles:
    """Return the files of a store named by a path or a URL.

    ``s3://``, ``gs://``, ``hdfs://`` and the like go through pyarrow, any other scheme through fsspec. Logs of a store
    that is not a local folder stand in ``$MEANDRIFT_SPOOL``, or else ``$XDG_STATE_HOME/meandrift`` or
    ``~/.local/state/meandrift``; so do rows that a local store refused.

    Raises:
        ValueError: Neither pyarrow nor fsspec knows the URL's scheme, or a ``file://`` URL is none of this machine's.
    """
    name = os.fspath(store)
    folder = schema.local_folder(name)
    if folder is not None:
        return LocalStoreFiles(name, folder.absolute(), fsync=fsync)
    filesystem, root = _filesystem(name)
    spool = spool_folder(name)
    return StoreFiles(name, filesystem, root, spool, spool / "spilled")


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
