"""The finished parts of a store at a URL. Logs are not read: they stay on the machine of the run."""

from __future__ import annotations

import pyarrow.fs as pafs

from analysis.reading.files.local_files import RUN_PREFIX, is_part, is_run_folder
from probes import schema


def filesystem_of(location: str) -> tuple[pafs.FileSystem | None, str]:
    """Return the file system of a folder or URL, None for this machine's own, and the path in it.

    Raises:
        ValueError: The URL has a scheme that neither pyarrow nor an installed fsspec knows, or is a ``file://`` URL of
            another machine.
    """
    folder = schema.local_folder(location)
    if folder is not None:
        return None, str(folder)
    try:
        filesystem, path = pafs.FileSystem.from_uri(location)
    except ValueError:  # a scheme unknown to pyarrow: fsspec may know it
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # ships no type hints

        known, path = url_to_fs(location)
        return pafs.PyFileSystem(pafs.FSSpecHandler(known)), path
    return filesystem, path


def parts_by_run(filesystem: pafs.FileSystem, folder: str) -> dict[str, list[str]]:
    """Return the finished parts in a table's folder, by run id, sorted. Folders not named after a run are left out."""
    found: dict[str, list[str]] = {}
    for info in filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True)):
        if info.is_file and is_part(info.base_name):
            found.setdefault(info.path.rpartition("/")[0], []).append(info.path)
    of_runs = {parent: sorted(parts) for parent, parts in sorted(found.items()) if is_run_folder(parent)}
    return {parent.rpartition("/")[2].removeprefix(RUN_PREFIX): parts for parent, parts in of_runs.items()}
