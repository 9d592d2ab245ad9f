"""The `runs` table: one row for each run, rewritten as a whole at each change."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from probes import schema
from probes.arrow_arrays import one_row
from probes.schema.part_checks import reading_problem
from probes.schema.stored_json import stored_json
from probes.storage.config_json import config_json, plain_json
from probes.storage.damage import DamagedFileError, naming
from probes.storage.files import UNFINISHED, StoreFiles
from probes.storage.parts import fitted, write_parquet
from probes.storage.safe_files import check_folder, is_regular, make_file

RUN_FILE = "part-0.parquet"
_SCHEMA = schema.arrow_schema(schema.RUNS, schema.RUNS_COLUMNS)


def read_run_row(files: StoreFiles, run: str) -> dict[str, Any]:
    """Return a run's row as a dict with all columns of the schema; empty if the run has none.

    Raises:
        DamagedFileError: The row cannot be read, or its columns are not those of a run's row.
    """
    path = f"{files.folder(schema.RUNS, run)}/{RUN_FILE}"
    try:
        with files.open_part(schema.RUNS, run, RUN_FILE) as part:
            if problem := reading_problem(schema.RUNS, part.schema_arrow):
                raise DamagedFileError(f"{path} is not the row of a run: {problem}")
            first = next(part.iter_batches(batch_size=1), None)
            rows: list[dict[str, Any]] = [] if first is None else first.to_pylist()
    except FileNotFoundError:
        return {}
    return {name: rows[0].get(name) for name in _SCHEMA.names} if rows else {}


def write_run_row(files: StoreFiles, run: str, row: Mapping[str, Any]) -> None:
    """Replace a run's row in one step."""
    files.put(schema.RUNS, run, RUN_FILE, [one_row(_stamped(row), _SCHEMA)], _SCHEMA)


def spill_run_row(files: StoreFiles, run: str, row: Mapping[str, Any]) -> None:
    """Keep a run's row in the spool, because the store does not take it."""
    folder = check_folder(files.spilled(run), root=files.spill, make=True)
    unfinished = folder / f"{schema.RUNS}{UNFINISHED}"
    try:
        os.close(make_file(unfinished))
        write_parquet(unfinished, [one_row(_stamped(row), _SCHEMA)], _SCHEMA)
        unfinished.replace(folder / RUN_FILE)
    finally:
        unfinished.unlink(missing_ok=True)


def restore_spilled_row(files: StoreFiles, run: str) -> None:
    """Bring a run's row from the spool into the store, if there is one."""
    path = files.spilled(run) / RUN_FILE
    if is_regular(path):
        with naming(path), pq.ParquetFile(path) as spilled:
            row = spilled.read()
        files.put(schema.RUNS, run, RUN_FILE, [fitted(row, _SCHEMA)], _SCHEMA)
        path.unlink()


def described(row: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with these fields set; objects of ``config``, ``versions``, ``gaps`` and ``tags`` become JSON.

    Raises:
        ValueError: A field is no column of the `runs` table, or its column cannot hold its value.
    """
    unknown = sorted(set(fields) - set(_SCHEMA.names))
    if unknown:
        raise ValueError(f"run row has no field {', '.join(unknown)}; it has {', '.join(_SCHEMA.names)}")
    written = {name: _JSON[name](value) if name in _JSON else value for name, value in fields.items()}
    try:
        one_row(written, _SCHEMA)
    except TypeError as error:
        raise ValueError(f"run row: a value has the wrong type: {error}") from error
    return {**row, **written}


def gaps_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gaps of a run's row; an empty list if there are none, or if they are no JSON list of objects."""
    try:
        gaps = stored_json(row.get("gaps") or "[]", list)
    except ValueError:
        return []
    return [gap for gap in gaps if isinstance(gap, dict)]


def default_versions() -> dict[str, str]:
    """Return the versions of Python, pyarrow, meandrift and, if it is loaded, torch."""
    found = {"python": platform.python_version(), "pyarrow": pa.__version__}
    try:
        found["meandrift"] = version("meandrift")
    except PackageNotFoundError:
        found["meandrift"] = "not installed"
    torch = sys.modules.get("torch")
    return found | ({"torch": str(torch.__version__)} if torch is not None else {})


def _stamped(row: Mapping[str, Any]) -> dict[str, Any]:
    began_under = row.get("schema_version") or schema.SCHEMA_VERSION
    return {**row, "updated": datetime.now(UTC), "schema_version": began_under}


def _config(value: Any) -> str | None:
    return None if value is None else config_json(value)


def _json(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else plain_json(value)


_JSON = {"config": _config, "versions": _json, "gaps": _json, "tags": _json}
