"""Where a store keeps its parts, and what to say when they are not there."""

from __future__ import annotations

from pathlib import Path

from probes import schema


def parts_by_run(store: str | Path, table: str) -> dict[str, list[Path]]:
    """Return the finished Parquet parts of a table by run id, both sorted; files still being written are left out.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: The path is a file, or ``table`` is none of the store's tables.
    """
    if table not in schema.TABLES:
        raise ValueError(f"no table {table!r}; a store has {', '.join(schema.TABLES)}")
    folder = existing_store(store) / table
    found = {}
    for run_folder in sorted(folder.glob("run=*")):
        parts = sorted(part for part in run_folder.glob("*.parquet") if not part.name.startswith(("_", ".")))
        if parts:
            found[run_folder.name.removeprefix("run=")] = parts
    return found


def existing_store(store: str | Path) -> Path:
    """Return the store's path.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: The path is a file.
    """
    path = Path(store)
    if not path.exists():
        raise FileNotFoundError(
            f"store {str(store)!r} does not exist; train with a Probe to make one, or check the path"
        )
    if not path.is_dir():
        raise ValueError(f"store {str(store)!r} is a file; expected the folder that holds {', '.join(schema.TABLES)}")
    return path


def missing_table(store: str | Path, table: str) -> str:
    """Return the sentence that says a table is not there and which are."""
    present = [name for name in schema.TABLES if parts_by_run(store, name)]
    if not present:
        return f"store {str(store)!r} is empty: no run has finished a part of any table yet"
    return f"store {str(store)!r} has no table {table!r}; it has {', '.join(present)}"
